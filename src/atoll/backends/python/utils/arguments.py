"""What the real module takes as an argument, and its words where it does not take it.

Its binding converts: bytes are strings, whatever has an index is an integer, and most things are true or false.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, SupportsIndex, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def as_text(value: object) -> str | None:
    """The string, also of UTF-8 bytes; None for anything else."""
    if isinstance(value, str):
        return str(value)
    return value.decode() if isinstance(value, bytes) else None


def as_integer(value: object, least: int, most: int) -> int | None:
    """The integer, of whatever library, where it is in this range; None for anything else."""
    try:
        number = index(cast(SupportsIndex, value))
    except TypeError:
        return None
    return number if least <= number <= most else None


def as_flag(value: object) -> bool | None:
    """Whether it is true; None for what has no such thing."""
    return None if value is None or isinstance(value, (str, bytes)) else bool(value)


def mismatch(
    signature: str, arguments: Sequence[object], named: Mapping[str, object] | None = None, function: str = ""
) -> TypeError:
    """A call with arguments of the wrong types, in the form that the real module's binding gives such errors.

    `signature` is what would have been right; `function` is empty for constructors.
    """
    kind = "function" if function else "constructor"
    given = ", ".join(repr(argument) for argument in arguments)
    if named:
        given += ("; " if given else "") + "kwargs: " + ", ".join(f"{key}={value!r}" for key, value in named.items())
    return TypeError(
        f"{function or '__init__'}(): incompatible {kind} arguments. The following argument types are supported:\n"
        f"    1. {signature}\n\nInvoked with: {given}"
    )
