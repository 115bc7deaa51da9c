"""What Triton's summaries are made of: each stage's durations of the last minute."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll.observability.statistics.distribution import NS_BOUNDS, Distribution
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.window import Window


@dataclass(frozen=True, slots=True)
class RecentDurations:
    """`count` and `lately.total` (nanoseconds) are of all that ever came, the buckets of the last minute."""

    count: int
    lately: Distribution


@dataclass(frozen=True, slots=True)
class SummaryStatistics:
    """By stage; the names are those of the statistics."""

    request: RecentDurations
    queue: RecentDurations
    compute_input: RecentDurations
    compute_infer: RecentDurations
    compute_output: RecentDurations
    cache_hit: RecentDurations
    cache_miss: RecentDurations


Counted: TypeAlias = tuple[tuple[int, ...], list[int]]
"""Upper bounds, and how many values were in each bucket: a list that its owner adds to."""


class Summaries:
    """What the recorder counts anyway is not counted again: `request` and `queue` are its own, and so are sums.

    Each of the calls that add comes before the recorder counts the same request. Not thread-safe: its lock is held. All
    times in nanoseconds, moments monotonic.
    """

    __slots__ = ("_bounds", "_hit", "_infer", "_input", "_miss", "_output", "_window")

    def __init__(self, request: Counted, queue: Counted) -> None:
        own = [[0] * (len(NS_BOUNDS) + 1) for _ in range(5)]
        self._input, self._infer, self._output, self._hit, self._miss = own
        self._bounds = (request[0], queue[0], *[NS_BOUNDS] * len(own))
        self._window = Window([request[1], queue[1], *own])

    def add(self, now: int, compute_input: int, compute_infer: int, compute_output: int, times: int = 1) -> None:
        """So many requests were executed together, and succeeded."""
        if now >= self._window.ends_ns:
            self._window.turn(now)
        self._input[bisect_left(NS_BOUNDS, compute_input)] += times
        self._infer[bisect_left(NS_BOUNDS, compute_infer)] += times
        self._output[bisect_left(NS_BOUNDS, compute_output)] += times

    def add_hit(self, now: int, lookup: int) -> None:
        """A request was answered from the response cache."""
        if now >= self._window.ends_ns:
            self._window.turn(now)
        self._hit[bisect_left(NS_BOUNDS, lookup)] += 1

    def add_miss(self, now: int, took: int) -> None:
        """The response cache did not have it."""
        if now >= self._window.ends_ns:
            self._window.turn(now)
        self._miss[bisect_left(NS_BOUNDS, took)] += 1

    def snapshot(self, now: int, durations: Sequence[Duration]) -> SummaryStatistics:
        """As they are now. `durations`: of each stage, in the order of SummaryStatistics."""
        lately = self._window.lately(now)
        return SummaryStatistics(
            *[
                RecentDurations(duration.count, Distribution(bounds, counts, duration.ns))
                for duration, bounds, counts in zip(durations, self._bounds, lately, strict=True)
            ]
        )
