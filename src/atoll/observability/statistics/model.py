"""What is counted per model version, with the meaning and the names of Triton's statistics extension.

Written by the instances, once per batch, under one lock; read as a snapshot. Metrics are rendered from the same
numbers.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.errors import CancelledError, Code
from atoll.observability.statistics.durations import NOTHING, Duration
from atoll.observability.statistics.responses import ResponseRecorder, ResponseStatistics
from atoll.request import InferenceRequest, Timeline


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The executions of one batch size; each count is the number of executions."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """A snapshot. `last_inference_ms` is wall-clock milliseconds since the epoch, 0 before the first inference.

    `inference_count` counts the items of successful batches, `execution_count` the executions. The durations of a
    batch count once for each of its requests, as in Triton. A hit of the response cache counts in `success`, `queue`
    and `cache_hit` alone; `cached`: whether the model's configuration enables that cache. `failures` counts failed
    requests by reason. `response_stats`: of a decoupled model, its responses by their place. `labels` are those that
    its metrics have beside model, version and reason. `load_ns` is how long loading it took; 0: unknown.
    """

    name: str
    version: str
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = NOTHING
    fail: Duration = NOTHING
    queue: Duration = NOTHING
    compute_input: Duration = NOTHING
    compute_infer: Duration = NOTHING
    compute_output: Duration = NOTHING
    cache_hit: Duration = NOTHING
    cache_miss: Duration = NOTHING
    batch_stats: tuple[BatchStatistics, ...] = ()
    failures: dict[str, int] = field(default_factory=dict)
    pending_request_count: int = 0
    in_flight_request_count: int = 0  # queued or executing; not in Triton
    driven_by_submitter: int = 0  # executions that ran on the submitting thread; not in Triton
    labels: Mapping[str, str] = field(default_factory=dict)
    load_ns: int = 0
    cached: bool = False
    response_stats: tuple[ResponseStatistics, ...] = ()


FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")


def failure_reason(error: Exception, executed: bool) -> str:
    """The `reason` label of nv_inference_request_failure."""
    if isinstance(error, CancelledError):
        return "CANCELED"
    if executed:
        return "BACKEND"
    return "REJECTED" if getattr(error, "code", None) is Code.UNAVAILABLE else "OTHER"


class StatisticsRecorder:
    """The counters of one model version. Thread-safe; plain integers: recording costs about a microsecond a batch."""

    def __init__(
        self,
        name: str,
        version: str,
        labels: Mapping[str, str] | None = None,
        *,
        cached: bool = False,
        decoupled: bool = False,
    ):
        self.responses = ResponseRecorder() if decoupled else None
        self.name = name
        self.version = version
        self._cached = cached
        self._labels = dict(labels or {})
        self._load_ns = 0
        self._lock = threading.Lock()
        self._last_inference_ms = 0
        self._inferences = 0
        self._executions = 0
        self._submitter_executions = 0
        self._succeeded = 0  # requests, each of which has been through all of the following
        self._success_ns = 0
        self._queue_ns = 0
        self._compute_input_ns = 0
        self._compute_infer_ns = 0
        self._compute_output_ns = 0
        self._failed = 0
        self._fail_ns = 0
        self._batches: dict[int, list[int]] = {}  # size -> [executions, input ns, infer ns, output ns]
        self._failures = dict.fromkeys(FAILURE_REASONS, 0)
        self._hits = 0  # of the requests that succeeded; none of them was executed
        self._hit_ns = 0
        self._misses = 0
        self._miss_ns = 0

    def record_batch(
        self, requests: Sequence[InferenceRequest], timeline: Timeline, size: int, by_submitter: bool, fillers: int = 0
    ) -> None:
        """A batch of `size` items succeeded, of which `fillers` were no request's; `timeline` holds its compute stamps
        and its end.
        """
        input_ns = timeline.compute_input_end - timeline.compute_start
        infer_ns = timeline.compute_output_start - timeline.compute_input_end
        output_ns = timeline.compute_end - timeline.compute_output_start
        queue_ns = success_ns = 0
        start, end = timeline.compute_start, timeline.request_end
        for request in requests:
            stamps = request.timeline
            queue_ns += start - stamps.queue_start
            success_ns += end - stamps.request_start
        count = len(requests)
        with self._lock:
            self._submitter_executions += by_submitter
            self._succeeded += count
            self._success_ns += success_ns
            self._queue_ns += queue_ns
            self._compute_input_ns += input_ns * count
            self._compute_infer_ns += infer_ns * count
            self._compute_output_ns += output_ns * count
            self._inferences -= fillers
            self._count_execution(size, input_ns, infer_ns, output_ns)

    def record_execution(self, size: int, input_ns: int, infer_ns: int, fillers: int = 0) -> None:
        """A batch of `size` items was executed whose requests succeed or fail one by one."""
        with self._lock:
            self._inferences -= fillers
            self._count_execution(size, input_ns, infer_ns, 0)

    def record_success(self, stamps: Timeline) -> None:
        """A request of such a batch succeeded."""
        with self._lock:
            self._succeeded += 1
            self._success_ns += stamps.request_end - stamps.request_start
            self._queue_ns += stamps.compute_start - stamps.queue_start
            self._compute_input_ns += stamps.compute_input_end - stamps.compute_start
            self._compute_infer_ns += stamps.compute_output_start - stamps.compute_input_end
            self._compute_output_ns += stamps.compute_end - stamps.compute_output_start

    def record_cache_hit(self, stamps: Timeline, lookup_ns: int) -> None:
        """A request succeeded without being executed: the response cache had its answer."""
        with self._lock:
            self._hits += 1
            self._hit_ns += lookup_ns
            self._succeeded += 1
            self._success_ns += stamps.request_end - stamps.request_start
            self._queue_ns += max(stamps.request_end - stamps.queue_start - lookup_ns, 0)

    def record_cache_miss(self, ns: int) -> None:
        """A request that was not in the response cache has been executed. `ns`: the lookup, and keeping the answer."""
        with self._lock:
            self._misses += 1
            self._miss_ns += ns

    def record_cache_insertion(self, ns: int) -> None:
        """The answer to such a request was kept after it had been given."""
        with self._lock:
            self._miss_ns += ns

    def record_steps(self, request: InferenceRequest, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """A request of an ensemble succeeded, whose steps took so long in all: it counts as an execution of its own."""
        stamps = request.timeline
        with self._lock:
            self._succeeded += 1
            self._success_ns += stamps.request_end - stamps.request_start
            self._queue_ns += stamps.compute_start - stamps.queue_start
            self._compute_input_ns += input_ns
            self._compute_infer_ns += infer_ns
            self._compute_output_ns += output_ns
            self._count_execution(request.batch_size, input_ns, infer_ns, output_ns)

    def _count_execution(self, size: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        self._last_inference_ms = time.time_ns() // 1_000_000
        self._inferences += size
        self._executions += 1
        batch = self._batches.get(size)
        if batch is None:
            batch = self._batches[size] = [0, 0, 0, 0]
        batch[0] += 1
        batch[1] += input_ns
        batch[2] += infer_ns
        batch[3] += output_ns

    def record_failure(self, request: InferenceRequest, end_ns: int, reason: str) -> None:
        """A request ended with an error; one that was refused before it was queued never began and is counted by
        `reason` alone.
        """
        start_ns = request.timeline.request_start
        with self._lock:
            self._failures[reason] += 1
            self._failed += 1
            self._fail_ns += end_ns - start_ns if start_ns else 0

    def record_load(self, duration_ns: int) -> None:
        """The version is loaded, which took so long."""
        with self._lock:
            self._load_ns = duration_ns

    def snapshot(self, pending: int = 0, in_flight: int = 0) -> ModelStatistics:
        """The numbers at one moment, consistent with each other; `pending` is the queue's length, which the scheduler
        knows.
        """
        with self._lock:
            return ModelStatistics(
                name=self.name,
                version=self.version,
                last_inference_ms=self._last_inference_ms,
                inference_count=self._inferences,
                execution_count=self._executions,
                success=Duration(self._succeeded, self._success_ns),
                fail=Duration(self._failed, self._fail_ns),
                queue=Duration(self._succeeded, self._queue_ns),
                compute_input=Duration(self._succeeded - self._hits, self._compute_input_ns),
                compute_infer=Duration(self._succeeded - self._hits, self._compute_infer_ns),
                compute_output=Duration(self._succeeded - self._hits, self._compute_output_ns),
                cache_hit=Duration(self._hits, self._hit_ns),
                cache_miss=Duration(self._misses, self._miss_ns),
                batch_stats=tuple(
                    BatchStatistics(size, Duration(n, i), Duration(n, x), Duration(n, o))
                    for size, (n, i, x, o) in sorted(self._batches.items())
                ),
                failures=dict(self._failures),
                pending_request_count=pending,
                in_flight_request_count=in_flight,
                driven_by_submitter=self._submitter_executions,
                labels=self._labels,
                load_ns=self._load_ns,
                cached=self._cached,
                response_stats=() if self.responses is None else self.responses.snapshot(),
            )
