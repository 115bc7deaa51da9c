"""Functions to be called later: cheap to add and to cancel, as most are cancelled long before."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

_WORTH_SWEEPING = 256  # timers


class Timer:
    """A function that will be called once."""

    def __init__(self, timers: Timers, function: Callable[[], object]):
        self._timers = timers
        self._function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """Do not call it. Does nothing after the call."""
        if self._function is not None:
            self._function = None
            self._timers.count_cancelled()

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing is left to do."""
        return self._function is None

    def fire(self) -> None:
        """Call it, if nobody has cancelled it."""
        function, self._function = self._function, None
        if function is not None:
            function()


class Timers:
    """Usable from any thread. Times are in seconds of one clock, which only grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0  # about: those that are still in the heap

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, function: Callable[[], object]) -> tuple[Timer, bool]:
        """A timer, and whether it is the next of all: who waits must then wait less."""
        timer = Timer(self, function)
        with self._lock:
            if len(self._heap) > _WORTH_SWEEPING and self._cancelled * 2 > len(self._heap):
                self._heap = [one for one in self._heap if not one[2].is_cancelled]
                heapq.heapify(self._heap)
                self._cancelled = 0
            heapq.heappush(self._heap, (when, next(self._numbers), timer))
            return timer, self._heap[0][2] is timer

    def count_cancelled(self) -> None:
        """One of them has been cancelled."""
        self._cancelled += 1

    def next_at(self) -> float | None:
        """When there is something to do; None: never."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Timer | None:
        """The next one that is due, taken out."""
        with self._lock:
            return heapq.heappop(self._heap)[2] if self._heap and self._heap[0][0] <= now else None
