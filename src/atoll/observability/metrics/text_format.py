"""How metrics are written for Prometheus: its text format, version 0.0.4."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

EVERYTHING: Final = "+Inf"
"""The bound of a histogram's last bucket."""

SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
"""What the names of a family's lines end in beside the family's own, by its kind."""


def header(name: str, description: str, kind: str) -> str:
    """The two lines that a family begins with; one where it has no description."""
    about = f"# HELP {name} {escape_help(description)}\n" if description else ""
    return f"{about}# TYPE {name} {kind}\n"


def family(name: str, description: str, kind: str, lines: Iterable[str]) -> str:
    """A whole family; "" where it has no lines."""
    text = "".join(lines)
    return header(name, description, kind) + text if text else ""


def braces(labels: Iterable[tuple[str, str]]) -> str:
    """The labels of a line, in their order; "" where there are none."""
    inner = ",".join([f'{name}="{escape_label(value)}"' for name, value in labels])
    return f"{{{inner}}}" if inner else ""


def escape_label(value: str) -> str:
    """A label's value as it stands between quotes on the page."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()  # a lone surrogate must not cost everybody the page
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def escape_help(text: str) -> str:
    """A description as it stands on the page: its quotes stay as they are."""
    return escape_label(text).replace('\\"', '"')


def number(value: float) -> str:
    """Whole numbers without a point."""
    if math.isinf(value):
        return EVERYTHING if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
