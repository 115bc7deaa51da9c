"""What an instance needs before it may execute, where the rate limiter is on: the resources that its group names."""

from collections.abc import Callable
from typing import Protocol


class Permit(Protocol):
    """Of one instance; for one batch at a time. Its methods may be called under a pool's lock: what they let others do
    is told to those on the server's clock.
    """

    def take(self, on_granted: Callable[[], None]) -> bool:
        """Whether it may execute a batch now. If not, it stands in line, and `on_granted` is called when it may: the
        resources are then its own, and the next `take` says so.
        """

    def give_back(self) -> None:
        """The batch is done, or there is none: the resources, or the place in line, are for others. May be called when
        there is nothing to give back.
        """

    def close(self) -> None:
        """The instance is gone, with all that it held."""
