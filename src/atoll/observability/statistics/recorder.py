"""Counts what becomes of a model version's requests: written by its instances, once a batch, under one lock; read as a
snapshot.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial

from atoll.errors import AtollError
from atoll.observability.statistics.distribution import Distribution, bounds_with
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.failure_reasons import FAILURE_REASONS
from atoll.observability.statistics.measures import COMPUTE, DEFAULT_MEASURES, FIRST_RESPONSE, QUEUE, REQUEST, Measures
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.observability.statistics.recent_errors import RecentErrors
from atoll.observability.statistics.responses import ResponseRecorder
from atoll.observability.statistics.summaries import Summaries
from atoll.observability.statistics.window import SLOT_NS
from atoll.request import InferenceRequest, Timeline


class StatisticsRecorder:
    """The counters of one model version. Thread-safe; plain integers: recording costs about a microsecond a batch."""

    __slots__ = (  # so many fields are slower in a dictionary, by a tenth of the whole
        "_batches", "_cached", "_compute_bounds", "_compute_counts", "_compute_infer_ns", "_compute_input_ns",
        "_compute_output_ns", "_errors", "_executions", "_fail_ns", "_failed", "_failures", "_first_bounds",
        "_first_counts", "_first_ns", "_hit_ns", "_hits", "_inferences", "_labels", "_last_inference_ns",
        "_load_ns", "_lock", "_measures", "_miss_ns", "_misses", "_queue_bounds", "_queue_counts", "_queue_ns",
        "_refusals", "_request_bounds", "_request_counts", "_submitter_executions", "_succeeded", "_success_ns",
        "_summaries", "name", "responses", "version",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        version: str,
        labels: Mapping[str, str] | None = None,
        *,
        cached: bool = False,
        decoupled: bool = False,
        measures: Measures = DEFAULT_MEASURES,
        errors: RecentErrors | None = None,
    ):
        self.responses = ResponseRecorder() if decoupled else None
        self.name = name
        self.version = version
        self._cached = cached
        self._labels = dict(labels or {})
        self._load_ns = 0
        self._lock = threading.Lock()
        self._last_inference_ns = 0
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
        self._measures = measures
        self._errors = errors  # of the whole server; None: nobody looks at them
        self._refusals: dict[str, int] = {}
        self._request_bounds, self._queue_bounds, self._compute_bounds, self._first_bounds = (
            bounds_with(measures.buckets[family]) for family in (REQUEST, QUEUE, COMPUTE, FIRST_RESPONSE)
        )
        self._request_counts = [0] * (len(self._request_bounds) + 1)
        self._queue_counts = [0] * (len(self._queue_bounds) + 1)
        self._compute_counts = [0] * (len(self._compute_bounds) + 1)
        self._first_counts = [0] * (len(self._first_bounds) + 1)
        self._first_ns = 0
        self._summaries = (
            Summaries((self._request_bounds, self._request_counts), (self._queue_bounds, self._queue_counts))
            if measures.summaries
            else None
        )

    @property
    def times_first_responses(self) -> bool:
        """Whether `record_first_response` is to be called."""
        return self._measures.first_responses

    def record_batch(
        self, requests: Sequence[InferenceRequest], timeline: Timeline, size: int, by_submitter: bool, fillers: int = 0
    ) -> None:
        """A batch of `size` items succeeded, of which `fillers` were no request's; `timeline` holds its compute stamps
        and its end.
        """
        input_ns = timeline.compute_input_end - timeline.compute_start
        infer_ns = timeline.compute_output_start - timeline.compute_input_end
        output_ns = timeline.compute_end - timeline.compute_output_start
        with self._lock:
            if len(requests) == 1:  # the most frequent, unless there are many at once: it need not pay for a loop
                self._count_request(requests[0].timeline, input_ns, infer_ns, output_ns)
            else:
                self._count_requests(requests, timeline, input_ns, infer_ns, output_ns)
            if by_submitter:
                self._submitter_executions += 1
            self._inferences += size - fillers
            self._count_execution(size, input_ns, infer_ns, output_ns)

    def _count_requests(
        self, requests: Sequence[InferenceRequest], timeline: Timeline, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """Those of one batch, which have been computed together."""
        start, end, count = timeline.compute_start, timeline.request_end, len(requests)
        if self._summaries is not None:
            self._summaries.add(end, input_ns, infer_ns, output_ns, count)
        queue_ns = success_ns = 0
        request_bounds, request_counts = self._request_bounds, self._request_counts
        queue_bounds, queue_counts = self._queue_bounds, self._queue_counts
        for request in requests:
            stamps = request.timeline
            queued = start - stamps.queue_start
            queue_ns += queued
            queue_counts[bisect_left(queue_bounds, queued)] += 1
            took = end - stamps.request_start
            success_ns += took
            request_counts[bisect_left(request_bounds, took)] += 1
        self._compute_counts[bisect_left(self._compute_bounds, input_ns + infer_ns + output_ns)] += count
        self._succeeded += count
        self._success_ns += success_ns
        self._queue_ns += queue_ns
        self._compute_input_ns += input_ns * count
        self._compute_infer_ns += infer_ns * count
        self._compute_output_ns += output_ns * count

    def record_execution(self, size: int, input_ns: int, infer_ns: int) -> None:
        """A batch of `size` items was executed whose requests succeed or fail one by one."""
        with self._lock:
            self._count_execution(size, input_ns, infer_ns, 0)

    def record_success(self, stamps: Timeline, items: int) -> None:
        """A request of such a batch succeeded, which had so many items."""
        # The execution's thread may be about to stamp an end that this answer has overtaken.
        joined, executed, end = stamps.compute_input_end, stamps.compute_output_start, stamps.compute_end
        if executed > end:
            executed = end
        if joined > executed:
            joined = executed
        input_ns, infer_ns = joined - stamps.compute_start, executed - joined
        with self._lock:
            self._inferences += items
            self._count_request(stamps, input_ns, infer_ns, end - executed)

    def record_cache_hit(self, stamps: Timeline, lookup_ns: int) -> None:
        """A request succeeded without being executed: the response cache had its answer."""
        took = stamps.request_end - stamps.request_start
        queued = max(stamps.request_end - stamps.queue_start - lookup_ns, 0)
        with self._lock:
            if self._summaries is not None:
                self._summaries.add_hit(stamps.request_end, lookup_ns)
            self._hits += 1
            self._hit_ns += lookup_ns
            self._succeeded += 1
            self._success_ns += took
            self._queue_ns += queued
            self._request_counts[bisect_left(self._request_bounds, took)] += 1
            self._queue_counts[bisect_left(self._queue_bounds, queued)] += 1

    def record_cache_miss(self, ns: int) -> None:
        """A request that was not in the response cache has been executed. `ns`: the lookup, and keeping the answer."""
        with self._lock:
            self._misses += 1
            self._miss_ns += ns
            if self._summaries is not None:
                self._summaries.add_miss(time.monotonic_ns(), ns)

    def record_cache_insertion(self, ns: int) -> None:
        """The answer to such a request was kept after it had been given."""
        with self._lock:
            self._miss_ns += ns

    def record_steps(self, request: InferenceRequest, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """A request of an ensemble succeeded, whose steps took so long in all: it counts as an execution of its own."""
        with self._lock:
            self._count_request(request.timeline, input_ns, infer_ns, output_ns)
            self._inferences += request.batch_size
            self._count_execution(request.batch_size, input_ns, infer_ns, output_ns)

    def _count_request(self, stamps: Timeline, input_ns: int, infer_ns: int, output_ns: int) -> None:
        if self._summaries is not None:
            self._summaries.add(stamps.request_end, input_ns, infer_ns, output_ns)
        took = stamps.request_end - stamps.request_start
        queued = stamps.compute_start - stamps.queue_start
        self._succeeded += 1
        self._success_ns += took
        self._queue_ns += queued
        self._compute_input_ns += input_ns
        self._compute_infer_ns += infer_ns
        self._compute_output_ns += output_ns
        self._request_counts[bisect_left(self._request_bounds, took)] += 1
        self._queue_counts[bisect_left(self._queue_bounds, queued)] += 1
        self._compute_counts[bisect_left(self._compute_bounds, input_ns + infer_ns + output_ns)] += 1

    def _count_execution(self, size: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        self._last_inference_ns = time.time_ns()
        self._executions += 1
        batch = self._batches.get(size)
        if batch is None:
            batch = self._batches[size] = [0, 0, 0, 0]
        batch[0] += 1
        batch[1] += input_ns
        batch[2] += infer_ns
        batch[3] += output_ns

    def record_first_response(self, stamps: Timeline, now_ns: int) -> None:
        """The first response to a request of a decoupled model went out."""
        took = now_ns - stamps.request_start
        with self._lock:
            self._first_counts[bisect_left(self._first_bounds, took)] += 1
            self._first_ns += took

    def record_failure(
        self, request: InferenceRequest, end_ns: int, reason: str, error: AtollError | None = None
    ) -> None:
        """A request ended with an error; one that was refused before it was queued never began and is counted by
        `reason` alone.
        """
        start_ns = request.timeline.request_start
        with self._lock:
            self._failures[reason] += 1
            self._failed += 1
            self._fail_ns += end_ns - start_ns if start_ns else 0
        if self._errors is not None and error is not None and reason != "CANCELED":
            self._errors.note(self.name, self.version, request.id, reason, error)

    def record_refusal(self, request: InferenceRequest, error: AtollError) -> None:
        """A request was refused before it was queued: it does not fit the model, or is not wanted now."""
        reason = error.code.name
        with self._lock:
            self._refusals[reason] = self._refusals.get(reason, 0) + 1
        if self._errors is not None:
            self._errors.note(self.name, self.version, request.id, reason, error)

    def record_load(self, duration_ns: int) -> None:
        """The version is loaded, which took so long."""
        with self._lock:
            self._load_ns = duration_ns

    @property
    def revision(self) -> object:
        """Equal to what it was before where nothing was recorded in between."""
        with self._lock:
            return (
                self._succeeded,
                self._failed,
                self._executions,
                self._inferences,
                self._misses,
                self._miss_ns,
                self._load_ns,
                sum(self._refusals.values()),
                self._first_ns,
                time.monotonic_ns() // SLOT_NS if self._summaries is not None else 0,
            )

    def snapshot(self, pending: int = 0, in_flight: int = 0) -> ModelStatistics:
        """The numbers at one moment, consistent with each other; `pending` is the queue's length, which the scheduler
        knows.
        """
        with self._lock:
            batches = [(size, *counts) for size, counts in self._batches.items()]
            success, queue = Duration(self._succeeded, self._success_ns), Duration(self._succeeded, self._queue_ns)
            executed = self._succeeded - self._hits
            compute_input = Duration(executed, self._compute_input_ns)
            compute_infer = Duration(executed, self._compute_infer_ns)
            compute_output = Duration(executed, self._compute_output_ns)
            hits, misses = Duration(self._hits, self._hit_ns), Duration(self._misses, self._miss_ns)
            stages = (success, queue, compute_input, compute_infer, compute_output, hits, misses)
            found = partial(
                ModelStatistics,
                name=self.name,
                version=self.version,
                last_inference_ms=self._last_inference_ns // 1_000_000,
                inference_count=self._inferences,
                execution_count=self._executions,
                success=success,
                fail=Duration(self._failed, self._fail_ns),
                queue=queue,
                compute_input=compute_input,
                compute_infer=compute_infer,
                compute_output=compute_output,
                cache_hit=hits,
                cache_miss=misses,
                failures=dict(self._failures),
                pending_request_count=pending,
                in_flight_request_count=in_flight,
                driven_by_submitter=self._submitter_executions,
                labels=self._labels,
                load_ns=self._load_ns,
                cached=self._cached,
                response_stats=() if self.responses is None else self.responses.snapshot(),
                request_durations=Distribution(self._request_bounds, tuple(self._request_counts), self._success_ns),
                queue_durations=Distribution(self._queue_bounds, tuple(self._queue_counts), self._queue_ns),
                compute_durations=Distribution(
                    self._compute_bounds,
                    tuple(self._compute_counts),
                    self._compute_input_ns + self._compute_infer_ns + self._compute_output_ns,
                ),
                first_responses=Distribution(self._first_bounds, tuple(self._first_counts), self._first_ns)
                if self._measures.first_responses
                else None,
                measures=self._measures,
                summaries=None if self._summaries is None else self._summaries.snapshot(time.monotonic_ns(), stages),
                refusals=dict(self._refusals),
            )
        # Nobody waits for this: there may be as many sizes as the largest batch has items.
        return found(batch_stats=tuple([_batch(*one) for one in sorted(batches)]))


def _batch(size: int, executions: int, input_ns: int, infer_ns: int, output_ns: int) -> BatchStatistics:
    durations = (Duration(executions, ns) for ns in (input_ns, infer_ns, output_ns))
    return BatchStatistics(size, *durations)
