"""What a target is: a room's reader of hostile bytes, and what it promises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atoll.errors import AtollError


@dataclass(frozen=True)
class Target:
    """`seeds`: bytes that are right, or nearly so, from which a fuzzer starts."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def outcome(function: Callable[[], Any]) -> Any:
    """What it returns, or the error that a client gets; any other one is raised."""
    try:
        return function()
    except AtollError as error:
        return type(error), str(error)
