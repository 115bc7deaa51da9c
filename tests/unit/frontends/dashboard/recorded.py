"""Statistics as a model's recorder makes them, without a model."""

from typing import Any

from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import Timeline

MS = 1_000_000


def recorder(name: str = "m", version: str = "1") -> StatisticsRecorder:
    return StatisticsRecorder(name, version)


def answered(into: StatisticsRecorder, queue_ms: float, compute_ms: float, times: int = 1) -> None:
    """So many requests that were queued and computed for so long, each alone."""
    for _ in range(times):
        stamps = Timeline()
        stamps.request_start = stamps.queue_start = 1000
        stamps.compute_start = stamps.compute_input_end = 1000 + int(queue_ms * MS)
        stamps.compute_output_start = stamps.compute_end = stamps.compute_start + int(compute_ms * MS)
        stamps.request_end = stamps.compute_end
        into.record_execution(1, 0, int(compute_ms * MS))
        into.record_success(stamps, 1)


def statistics(name: str = "m", version: str = "1", **changes: Any) -> ModelStatistics:
    return ModelStatistics(name, version, **changes)


def batches(**sizes: int) -> tuple[BatchStatistics, ...]:
    """Executions by size: batches(_4=10)."""
    return tuple(
        BatchStatistics(int(size[1:]), Duration(count), Duration(count), Duration(count))
        for size, count in sizes.items()
    )
