"""How durations were distributed lately: over the last minute, as Triton's summaries are."""

from bisect import bisect_left
from operator import sub
from typing import Final

from atoll.observability.statistics.distribution import NS_BOUNDS, Distribution

WINDOW_NS: Final = 60 * 10**9
SLOTS: Final = 5
SLOT_NS: Final = WINDOW_NS // SLOTS


class RecentDistribution:
    """Counts in slots of twelve seconds, of which the last four and the running one are looked at: what came 48 s ago is
    still there, what came 60 s ago is not. Times are monotonic nanoseconds. Not thread-safe.
    """

    __slots__ = ("_counts", "_ends_ns", "_slots", "_sum", "count")

    def __init__(self) -> None:
        self._counts = [0] * (len(NS_BOUNDS) + 1)  # since it was made
        self._slots = [tuple(self._counts)] * SLOTS  # what it was at the end of each of the last slots, oldest first
        self._sum = 0
        self._ends_ns = 0
        self.count = 0

    def add(self, value_ns: int, now_ns: int, times: int = 1) -> None:
        """This was so long, `times` times."""
        if now_ns >= self._ends_ns:
            self._turn(now_ns)
        self._counts[bisect_left(NS_BOUNDS, value_ns)] += times
        self._sum += value_ns * times
        self.count += times

    def _turn(self, now_ns: int) -> None:
        past = min((now_ns - self._ends_ns) // SLOT_NS + 1, SLOTS)
        self._slots = [*self._slots[past:], *[tuple(self._counts)] * past]
        self._ends_ns = now_ns - now_ns % SLOT_NS + SLOT_NS

    def snapshot(self, now_ns: int) -> Distribution:
        """What came in the last minute; `total`, unlike the counts, is of all that ever came, as in a summary."""
        if now_ns >= self._ends_ns:
            self._turn(now_ns)
        return Distribution(NS_BOUNDS, tuple(map(sub, self._counts, self._slots[0])), self._sum)
