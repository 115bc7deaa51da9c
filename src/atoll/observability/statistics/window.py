"""How counts have grown lately: over the last minute, as Triton's summaries are."""

from collections.abc import Sequence
from operator import sub
from typing import Final

WINDOW_NS: Final = 60 * 10**9
SLOTS: Final = 5
SLOT_NS: Final = WINDOW_NS // SLOTS


class Window:
    """Of lists of counts that somebody else adds to. Before, `turn` must be called, if `ends_ns` has come.

    Time is in slots of twelve seconds, of which the last four and the running one are looked at: what came 48 s ago is
    still there, what came 60 s ago is not. Times are monotonic nanoseconds. Not thread-safe.
    """

    __slots__ = ("_counts", "_slots", "ends_ns")

    def __init__(self, counts: Sequence[list[int]]):
        self._counts = counts
        self._slots = [self._now()] * SLOTS  # what they were at the end of each of the last slots, oldest first
        self.ends_ns = 0

    def _now(self) -> tuple[tuple[int, ...], ...]:
        return tuple([tuple(counts) for counts in self._counts])

    def turn(self, now_ns: int) -> None:
        """What is counted from now on came at this moment."""
        if now_ns < self.ends_ns:
            return
        past = min((now_ns - self.ends_ns) // SLOT_NS + 1, SLOTS)
        self._slots = [*self._slots[past:], *[self._now()] * past]
        self.ends_ns = now_ns - now_ns % SLOT_NS + SLOT_NS

    def lately(self, now_ns: int) -> list[tuple[int, ...]]:
        """By how much each list's counts have grown."""
        self.turn(now_ns)
        return [tuple(map(sub, now, then)) for now, then in zip(self._counts, self._slots[0], strict=True)]
