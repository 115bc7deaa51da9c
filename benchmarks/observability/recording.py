"""What recording a request costs, in process: the recorder's calls beside empty ones, and a pool that does nothing
with a recorder and with one whose calls are empty, in turns.
"""

import gc
import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from atoll.errors import InternalError
from atoll.observability.statistics.measures import DEFAULT_MEASURES
from atoll.observability.statistics.recent_errors import RecentErrors
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, run_at_once
from benchmarks.observability.plan import BATCHES
from benchmarks.scheduling.in_process import THREADS, Window, null_pool, null_request

PAIRS = 20  # of blocks, one with and one without: a figure is the median of their differences
DISTINCT = 512  # requests that are recorded again and again: as many different durations

Batch = Sequence[InferenceRequest]


@dataclass(frozen=True)
class Cost:
    """`us`: microseconds of processor time that recording adds to a request, in one round."""

    round: int
    what: str
    batch: int
    summaries: bool
    us: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class WholeCost:
    """Microseconds of processor time for a whole request, with and without recording, in one round."""

    round: int
    threads: int
    summaries: bool
    mean_batch: float
    with_us: float
    without_us: float
    added_us: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def _nothing(self: StatisticsRecorder, *_: object, **__: object) -> None:
    pass


SilentRecorder: type[StatisticsRecorder] = type(
    "SilentRecorder",
    (StatisticsRecorder,),
    {name: _nothing for name in vars(StatisticsRecorder) if name.startswith("record_")},
)
"""Counts nothing: each of its calls is empty."""


def recorder(summaries: bool, *, silent: bool = False) -> StatisticsRecorder:
    """As a server makes one."""
    kind = SilentRecorder if silent else StatisticsRecorder
    return kind("null", "1", measures=replace(DEFAULT_MEASURES, summaries=summaries), errors=RecentErrors())


# ---- the calls alone


def _record_batches(to: StatisticsRecorder, batches: Sequence[Batch]) -> None:
    for batch in batches:
        to.record_batch(batch, batch[0].timeline, len(batch), True)


def _record_singly(to: StatisticsRecorder, batches: Sequence[Batch]) -> None:
    for (request,) in batches:
        to.record_execution(1, 20_000, 500_000)
        to.record_success(request.timeline, 1)


def _record_hits(to: StatisticsRecorder, batches: Sequence[Batch]) -> None:
    for (request,) in batches:
        to.record_cache_hit(request.timeline, 8_000)


_ERROR = InternalError("the model has failed, and says so in a sentence")


def _record_failures(to: StatisticsRecorder, batches: Sequence[Batch]) -> None:
    for (request,) in batches:
        to.record_failure(request, request.timeline.request_end, "BACKEND", _ERROR)


def _record_refusals(to: StatisticsRecorder, batches: Sequence[Batch]) -> None:
    for (request,) in batches:
        to.record_refusal(request, _ERROR)


_OPERATIONS: tuple[tuple[str, int, Callable[[StatisticsRecorder, Sequence[Batch]], None]], ...] = (
    *(("record_batch", size, _record_batches) for size in BATCHES),
    ("record_execution, record_success", 1, _record_singly),
    ("record_cache_hit", 1, _record_hits),
    ("record_failure", 1, _record_failures),
    ("record_refusal", 1, _record_refusals),
)


def recording_costs(round_number: int, requests: int) -> Iterator[Cost]:
    """Of each call, of about so many requests each."""
    for what, size, run in _OPERATIONS:
        batches = _batches(size)
        turns = max(requests // (PAIRS * size * len(batches)), 1)
        for summaries in (False, True):
            recording, silent = recorder(summaries), recorder(summaries, silent=True)
            with _no_collections():
                added = [
                    _thread_us(run, recording, batches, turns) - _thread_us(run, silent, batches, turns)
                    for _ in range(PAIRS)
                ]
            yield Cost(round_number, what, size, summaries, statistics.median(added))


def _thread_us(
    run: Callable[[StatisticsRecorder, Sequence[Batch]], None],
    to: StatisticsRecorder,
    batches: Sequence[Batch],
    turns: int,
) -> float:
    """Of this thread, for each request."""
    began = time.thread_time_ns()
    for _ in range(turns):
        run(to, batches)
    return (time.thread_time_ns() - began) / 1000 / (turns * len(batches) * len(batches[0]))


def _batches(size: int) -> list[Batch]:
    """Requests that have been answered, of many different durations."""
    durations = random.Random(0)
    now = time.monotonic_ns()
    return [_answered_batch(size, now, durations) for _ in range(max(DISTINCT // size, 1))]


def _answered_batch(size: int, now: int, durations: random.Random) -> Batch:
    window = Window()
    batch = [null_request(window) for _ in range(size)]
    queued, computed = (int(durations.lognormvariate(12, 1)) for _ in range(2))
    for request in batch:
        stamps = request.timeline
        stamps.request_end = stamps.compute_end = now
        stamps.compute_output_start = now - 15_000
        stamps.compute_input_end = stamps.compute_output_start - computed
        stamps.compute_start = stamps.compute_input_end - 20_000
        stamps.queue_start = stamps.compute_start - durations.randrange(queued)
        stamps.request_start = stamps.queue_start - 10_000
    return batch


@contextmanager
def _no_collections() -> Iterator[None]:
    """The collector would run in the one block and not in the other."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ---- whole requests


def whole_costs(round_number: int, requests: int) -> Iterator[WholeCost]:
    """One client, whose requests are executed one by one; and several, whose requests form batches."""
    for threads, summaries in itertools.product((1, THREADS), (False, True)):
        yield _whole_cost(round_number, threads, summaries, max(requests // (PAIRS * threads), 1))


def _whole_cost(round_number: int, threads: int, summaries: bool, requests: int) -> WholeCost:
    """`requests`: of each thread, in each block."""
    counting = recorder(summaries)
    alone = threads == 1
    with (
        null_pool(counting, driven_by_submitter=alone) as recording,
        null_pool(recorder(summaries, silent=True), driven_by_submitter=alone) as silent,
    ):

        def block(with_recording: bool) -> float:
            pool = recording if with_recording else silent

            def ask() -> None:
                window = Window(1) if alone else Window()
                defer = run_at_once if alone else None  # as a caller that waits for its answer anyway
                for _ in range(requests):
                    window.wait()
                    request = null_request(window, defer)
                    request.timeline.request_start = time.monotonic_ns()
                    pool.submit(request)
                window.wait_for_all()

            return _process_us(ask, threads) / (threads * requests)

        block(True), block(False)  # nothing is made for the first time in a block that counts
        pairs = []
        for number in range(PAIRS):
            # Every second pair the other way round, so that a machine that grows slower or faster favours neither.
            first = block(number % 2 == 0)
            second = block(number % 2 == 1)
            pairs.append((first, second) if number % 2 == 0 else (second, first))
        counted = counting.snapshot()
    return WholeCost(
        round=round_number,
        threads=threads,
        summaries=summaries,
        mean_batch=counted.inference_count / max(counted.execution_count, 1),
        with_us=statistics.median(one for one, _ in pairs),
        without_us=statistics.median(one for _, one in pairs),
        added_us=statistics.median(one - other for one, other in pairs),
    )


def _process_us(work: Callable[[], None], count: int) -> float:
    """Of all threads of this process, those of the pools too."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    began = time.process_time_ns()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time_ns() - began) / 1000
