"""What Triton's summaries are made of: each stage's durations of the last minute."""

from dataclasses import dataclass

from atoll.observability.statistics.distribution import Distribution
from atoll.observability.statistics.window import RecentDistribution


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


class Summaries:
    """Not thread-safe: its recorder's lock is held. All times in nanoseconds."""

    def __init__(self) -> None:
        self._stages = [RecentDistribution() for _ in range(7)]

    def add(
        self, now: int, took: int, queued: int, compute_input: int, compute_infer: int, compute_output: int
    ) -> None:
        """A request was executed and succeeded."""
        stages = self._stages
        stages[0].add(took, now)
        stages[1].add(queued, now)
        stages[2].add(compute_input, now)
        stages[3].add(compute_infer, now)
        stages[4].add(compute_output, now)

    def add_hit(self, now: int, took: int, queued: int, lookup: int) -> None:
        """A request was answered from the response cache."""
        self._stages[0].add(took, now)
        self._stages[1].add(queued, now)
        self._stages[5].add(lookup, now)

    def add_miss(self, now: int, took: int) -> None:
        """The response cache did not have it."""
        self._stages[6].add(took, now)

    def snapshot(self, now: int) -> SummaryStatistics:
        """As they are now."""
        return SummaryStatistics(*(RecentDurations(stage.count, stage.snapshot(now)) for stage in self._stages))
