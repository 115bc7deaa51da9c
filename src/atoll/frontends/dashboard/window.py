"""What happened lately: the difference between what a model's counters say now and what they said some seconds ago."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import le
from typing import TypeVar

from atoll.observability.statistics.distribution import Distribution
from atoll.observability.statistics.model import ModelStatistics

_K = TypeVar("_K", int, str)


@dataclass(frozen=True, slots=True)
class Window:
    """Of one model version, over `seconds`. `succeeded`: requests that were answered. `batches`: executions by batch
    size. Durations in ns.
    """

    seconds: float
    succeeded: int
    durations: Distribution
    queue_ns: int
    compute_ns: int
    executions: int
    hits: int
    failures: Mapping[str, int]
    refusals: Mapping[str, int]
    batches: Mapping[int, int]

    @property
    def own_failures(self) -> dict[str, int]:
        """Without what clients cancelled: that is no trouble of the server's."""
        return {reason: count for reason, count in self.failures.items() if reason != "CANCELED"}


def window(now: ModelStatistics, earlier: ModelStatistics | None, seconds: float) -> Window:
    """`earlier`: None, or of a model that was loaded anew since, where all that was counted is of this window."""
    if earlier is None or not _continues(now, earlier):
        earlier = ModelStatistics(now.name, now.version)
        durations = now.request_durations
    elif same_counts(now, earlier):
        durations = Distribution(now.request_durations.bounds, (0,) * len(now.request_durations.counts))
    else:
        durations = now.request_durations.since(earlier.request_durations)
    return Window(
        seconds,
        now.success.count - earlier.success.count,
        durations,
        now.queue.ns - earlier.queue.ns,
        compute_ns(now) - compute_ns(earlier),
        now.execution_count - earlier.execution_count,
        now.cache_hit.count - earlier.cache_hit.count,
        _grown(now.failures, earlier.failures),
        _grown(now.refusals, earlier.refusals),
        _grown(batch_sizes(now), batch_sizes(earlier)),
    )


def compute_ns(one: ModelStatistics) -> int:
    """How long executing all of its requests took, together."""
    return one.compute_input.ns + one.compute_infer.ns + one.compute_output.ns


def batch_sizes(one: ModelStatistics) -> dict[int, int]:
    """Executions by batch size."""
    return {batch.batch_size: batch.compute_infer.count for batch in one.batch_stats}


def mean_batch(batches: Mapping[int, int]) -> float | None:
    """Of executions by batch size, failed ones too; None without any."""
    executions = sum(batches.values())
    return sum(size * count for size, count in batches.items()) / executions if executions else None


def same_counts(one: ModelStatistics, other: ModelStatistics) -> bool:
    """Whether nothing was counted between the two."""
    return (
        one.success == other.success
        and one.fail == other.fail
        and one.execution_count == other.execution_count
        and one.failures == other.failures
        and one.refusals == other.refusals
        and one.request_durations.bounds == other.request_durations.bounds
    )


def _continues(now: ModelStatistics, earlier: ModelStatistics) -> bool:
    """Whether the counters only grew: those of a model that was loaded anew begin at zero."""
    before, after = earlier.request_durations, now.request_durations
    if before.bounds != after.bounds or now.execution_count < earlier.execution_count:
        return False
    if sum(now.failures.values()) < sum(earlier.failures.values()):
        return False
    return all(map(le, before.counts, after.counts))


def _grown(now: Mapping[_K, int], earlier: Mapping[_K, int]) -> dict[_K, int]:
    grown = {key: count - earlier.get(key, 0) for key, count in now.items()}
    return {key: count for key, count in grown.items() if count > 0}
