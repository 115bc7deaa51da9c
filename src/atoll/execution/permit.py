"""What an instance needs before it may execute, where the rate limiter is on: the resources that its group names."""

from collections.abc import Callable
from typing import Protocol


class Permit(Protocol):
    """Of one instance; for one batch at a time. Its methods may be called under a pool's lock: what they let others do
    is told to those on the server's clock.
    """

    @property
    def turn(self) -> int:
        """Of several instances that are free, the one with the lowest turn is to go first."""

    def take(self, on_granted: Callable[[], None]) -> bool:
        """Whether it may execute a batch now. If not, it stands in line, and `on_granted` is called when it may: the
        resources are then its own, and the next `take` says so.
        """

    def give_back(self) -> None:
        """There is no batch after all: the resources, or the place in line, are for others. May be called when there is
        nothing to give back.
        """

    def executed(self, on_granted: Callable[[], None] | None) -> None:
        """The batch is done, which counts as a turn. Where there is another, `on_granted` puts the instance back in
        line at once, as `take` does: it is then compared with those that wait.
        """

    def close(self) -> None:
        """The instance is gone, with all that it held."""


def turn_of(permit: Permit | None) -> int:
    """The permit's turn; of an instance that needs none, 0: nobody is before it."""
    return permit.turn if permit is not None else 0
