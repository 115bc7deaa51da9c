"""The pair that statistics consist of."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Duration:
    """How many times something happened, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0


NOTHING: Final = Duration()
"""It never happened."""
