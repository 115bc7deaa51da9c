"""How much a model's own code may say of its work on one request, and the form in which that travels.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

from typing import TypeAlias

MAX_SPANS = 1000  # of one execution of a request; more are counted
MAX_ATTRIBUTES = 32  # of one span
MAX_TEXT = 1 << 18  # characters of all names, attributes and errors
MAX_NAME = 256
MAX_KEY = 128
MAX_VALUE = 1024
MAX_ERROR = 1024
MIN_INTEGER, MAX_INTEGER = -(1 << 63), (1 << 63) - 1

Attribute: TypeAlias = "bool | int | float | str"
# Name, start and end in monotonic nanoseconds, the parent's index or -1, attributes, error: as `ModelSpan` has them.
Row: TypeAlias = "tuple[str, int, int, int, dict[str, Attribute], str]"


def whole_text(text: str, most: int) -> str:
    """No more than so many characters of it, and half characters replaced: every text here can be written as UTF-8."""
    text = text[:most]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
