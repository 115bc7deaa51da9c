"""How many requests a pool has taken and not answered, and waiting until there are none; what it says to the others."""

import threading
from time import monotonic_ns

from atoll.errors import UnavailableError


class InFlight:
    """`count` is changed under the pool's lock."""

    __slots__ = ("_drained", "_lock", "_waiting", "count")

    def __init__(self, lock: threading.Lock):
        self._lock = lock
        self._drained = threading.Condition(lock)
        self._waiting = 0  # how many wait
        self.count = 0

    def finished(self, count: int) -> None:
        """So many have had their final answer. Under the lock."""
        self.count -= count
        if self._waiting and not self.count:
            self._drained.notify_all()

    def drain(self, deadline_ns: int) -> bool:
        """Wait until there are none; False when the deadline came first."""
        with self._lock:
            self._waiting += 1
            while self.count:
                left_ns = deadline_ns - monotonic_ns()
                if left_ns <= 0:
                    break
                self._drained.wait(left_ns / 1e9)
            self._waiting -= 1
            return not self.count


def not_accepted(model_name: str) -> UnavailableError:
    """To a request that comes too late."""
    return UnavailableError(
        f"Server is stopping, scheduler for model '{model_name}' has stopped accepting new inference requests"
    )


def not_executed(model_name: str) -> UnavailableError:
    """To a request that waited until the end."""
    return UnavailableError(f"model '{model_name}' was stopped before the request could be executed")
