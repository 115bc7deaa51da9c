"""Options that cannot be meant are refused when they are made."""

from dataclasses import fields
from typing import Any

from atoll.errors import InvalidArgumentError


def check(options: Any, **bounds: tuple[int, int]) -> None:
    """Each field has the type of its default, and lies within its bounds. Raises InvalidArgumentError naming it."""
    for field in fields(options):
        value, kind = getattr(options, field.name), type(field.default)
        low, high = bounds.get(field.name, (None, None))
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if fits and low is not None and high is not None:
            fits = low <= value <= high
        if not fits:
            between = f" from {low} to {high}" if low is not None else ""
            raise InvalidArgumentError(
                f"{type(options).__name__}: {field.name} is {value!r}, and must be of the type {kind.__name__}{between}"
            )
