"""How those who write the metrics page give way to others."""

from collections.abc import Callable
from typing import TypeAlias

Pace: TypeAlias = Callable[[], None]
"""Called often, between short pieces of work, while nothing is locked: lets other threads come first."""


def hurry() -> None:
    """The pace of who has nobody to let pass."""
