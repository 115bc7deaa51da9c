"""A model version's counters: what each kind of recording adds to which, and that every snapshot adds up."""

import threading
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import CancelledError, InternalError, InvalidArgumentError, UnavailableError
from atoll.observability.statistics import recorder as recorders
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.failure_reasons import FAILURE_REASONS, failure_reason
from atoll.observability.statistics.measures import DEFAULT_BUCKETS, Measures
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.observability.statistics.recent_errors import RecentErrors
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, InferenceResponse, Timeline

US = 1000
WITH_ALL = Measures(DEFAULT_BUCKETS, summaries=True, first_responses=True)


class Nobody:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("nothing is sent here")


def request(size: int = 1, start: int = 10 * US, queued: int = 5 * US, computed: int = 20 * US) -> InferenceRequest:
    """One that came at `start`, was queued 1 us later and waited so long; input 2 us, output 3 us."""
    made = InferenceRequest("m", {}, Nobody(), id="7")
    made.batch_size = size
    stamp(made.timeline, start, queued, computed)
    return made


def stamp(stamps: Timeline, start: int, queued: int, computed: int) -> None:
    stamps.request_start = start
    stamps.queue_start = start + US
    stamps.compute_start = stamps.queue_start + queued
    stamps.compute_input_end = stamps.compute_start + 2 * US
    stamps.compute_output_start = stamps.compute_input_end + computed
    stamps.compute_end = stamps.request_end = stamps.compute_output_start + 3 * US


def recorder(measures: Measures = WITH_ALL, errors: RecentErrors | None = None) -> StatisticsRecorder:
    return StatisticsRecorder("m", "1", cached=True, decoupled=True, measures=measures, errors=errors)


def expect_sum(found: ModelStatistics) -> None:
    """What must hold of every snapshot, whatever was recorded."""
    executed = found.success.count - found.cache_hit.count
    assert found.queue.count == found.success.count
    assert found.compute_input.count == found.compute_infer.count == found.compute_output.count == executed
    assert sum(found.failures.values()) == found.fail.count
    assert sum(one.compute_infer.count for one in found.batch_stats) == found.execution_count
    assert found.request_durations.count == found.success.count
    assert found.request_durations.total == found.success.ns
    assert (found.queue_durations.count, found.queue_durations.total) == (found.queue.count, found.queue.ns)
    assert found.compute_durations.count == executed
    parts = found.compute_input.ns + found.compute_infer.ns + found.compute_output.ns
    assert found.compute_durations.total == parts
    if found.summaries is not None:
        assert found.summaries.request.count == found.success.count
        assert found.summaries.compute_infer.count == executed
        assert found.summaries.cache_miss.count == found.cache_miss.count
        for stage, counted in (("request", found.success), ("queue", found.queue), ("cache_miss", found.cache_miss)):
            assert getattr(found.summaries, stage).lately.total == counted.ns


def test_a_batch_counts_for_each_of_its_requests() -> None:
    counted = recorder()
    requests = [request(2), request(3, queued=7 * US)]
    counted.record_batch(requests, requests[1].timeline, 5, True)
    found = counted.snapshot(3, 4)
    assert (found.inference_count, found.execution_count, found.driven_by_submitter) == (5, 1, 1)
    assert found.success.count == 2
    assert found.compute_infer == Duration(2, 2 * 20 * US)
    assert found.compute_input == Duration(2, 2 * 2 * US)
    (batch,) = found.batch_stats
    assert (batch.batch_size, batch.compute_infer, batch.compute_output) == (
        5,
        Duration(1, 20 * US),
        Duration(1, 3 * US),
    )
    assert (found.pending_request_count, found.in_flight_request_count) == (3, 4)
    assert found.last_inference_ms > 1_500_000_000_000
    expect_sum(found)


def test_fillers_are_executed_and_are_no_inferences() -> None:
    counted = recorder()
    counted.record_batch([request()], request().timeline, 4, False, fillers=3)
    found = counted.snapshot()
    assert (found.inference_count, found.execution_count, found.batch_stats[0].batch_size) == (1, 1, 4)


def test_an_execution_and_the_ends_of_its_requests_are_counted_apart() -> None:
    counted = recorder()
    counted.record_execution(5, US, 9 * US)
    counted.record_success(request(3).timeline, 3)
    counted.record_failure(request(2), 60 * US, "BACKEND")
    found = counted.snapshot()
    assert (found.execution_count, found.inference_count) == (1, 3)
    assert found.batch_stats[0].compute_infer == Duration(1, 9 * US)
    assert (found.success.count, found.fail) == (1, Duration(1, 50 * US))
    expect_sum(found)


@pytest.mark.parametrize("late", ["compute_input_end", "compute_output_start"])
def test_an_answer_that_overtakes_the_end_of_its_execution_takes_nothing_off_a_counter(late: str) -> None:
    counted = recorder()
    one = request()
    setattr(one.timeline, late, one.timeline.compute_end + 7 * US)  # stamped by the execution's thread meanwhile
    counted.record_success(one.timeline, 1)
    found = counted.snapshot()
    assert min(found.compute_input.ns, found.compute_infer.ns, found.compute_output.ns) >= 0
    assert found.compute_durations.total == 25 * US
    expect_sum(found)


def test_requests_are_counted_while_many_batch_sizes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = recorder()
    for size in (3, 1, 2):
        counted.record_execution(size, US, size * US)

    def made(size: int, *durations: Duration) -> BatchStatistics:
        counted.record_load(5)  # it would wait for ever if the recorder were locked
        return BatchStatistics(size, *durations)

    monkeypatch.setattr(recorders, "BatchStatistics", made)
    found = counted.snapshot()
    assert [(one.batch_size, one.compute_infer.ns) for one in found.batch_stats] == [(1, US), (2, 2 * US), (3, 3 * US)]


def test_a_hit_is_a_success_that_was_not_executed() -> None:
    counted = recorder()
    counted.record_cache_hit(request().timeline, 4 * US)
    counted.record_cache_miss(6 * US)
    counted.record_cache_insertion(5 * US)
    found = counted.snapshot()
    assert (found.cache_hit, found.cache_miss) == (Duration(1, 4 * US), Duration(1, 11 * US))
    assert (found.success.count, found.compute_infer.count, found.inference_count, found.execution_count) == (
        1,
        0,
        0,
        0,
    )
    expect_sum(found)


def test_an_ensembles_request_is_an_execution_of_its_own() -> None:
    counted = recorder()
    counted.record_steps(request(3), 4 * US, 30 * US, 5 * US)
    found = counted.snapshot()
    assert (found.inference_count, found.execution_count, found.batch_stats[0].batch_size) == (3, 1, 3)
    assert found.compute_durations.total == 39 * US
    expect_sum(found)


def test_failures_are_told_by_reason_and_noted_unless_nobody_waits() -> None:
    errors = RecentErrors()
    counted = recorder(errors=errors)
    for reason in FAILURE_REASONS:
        counted.record_failure(request(), 30 * US, reason, InternalError(f"for {reason}"))
    never_begun = InferenceRequest("m", {}, Nobody())
    counted.record_failure(never_begun, 30 * US, "REJECTED")
    found = counted.snapshot()
    assert found.failures == {"REJECTED": 2, "CANCELED": 1, "BACKEND": 1, "OTHER": 1}
    assert found.fail == Duration(5, 4 * 20 * US)
    assert [one.reason for one in errors.latest()] == ["OTHER", "BACKEND", "REJECTED"]
    expect_sum(found)


@pytest.mark.parametrize(
    ("error", "executed", "reason"),
    [
        (CancelledError("x"), True, "CANCELED"),
        (CancelledError("x"), False, "CANCELED"),
        (InternalError("x"), True, "BACKEND"),
        (UnavailableError("x"), True, "BACKEND"),
        (UnavailableError("x"), False, "REJECTED"),
        (InternalError("x"), False, "OTHER"),
        (ValueError("x"), False, "OTHER"),
    ],
)
def test_reasons(error: Exception, executed: bool, reason: str) -> None:
    assert failure_reason(error, executed) == reason


def test_a_refusal_is_no_failure() -> None:
    errors = RecentErrors()
    counted = recorder(errors=errors)
    counted.record_refusal(request(), InvalidArgumentError("wrong shape"))
    counted.record_refusal(request(), UnavailableError("no room"))
    counted.record_refusal(request(), InvalidArgumentError("wrong name"))
    found = counted.snapshot()
    assert found.refusals == {"INVALID_ARG": 2, "UNAVAILABLE": 1}
    assert (found.fail.count, sum(found.failures.values())) == (0, 0)
    assert [one.text for one in errors.latest()] == ["wrong name", "no room", "wrong shape"]


def test_first_responses_are_timed_where_they_are_wanted() -> None:
    counted = recorder()
    assert counted.times_first_responses
    counted.record_first_response(request(start=1000).timeline, 1000 + 7 * US)
    first = counted.snapshot().first_responses
    assert first is not None
    assert (first.count, first.total) == (1, 7 * US)
    plain = recorder(Measures(DEFAULT_BUCKETS))
    assert not plain.times_first_responses
    assert plain.snapshot().first_responses is None
    assert plain.snapshot().summaries is None


KINDS: dict[str, Callable[[StatisticsRecorder, InferenceRequest], object]] = {
    "batch": lambda counted, one: counted.record_batch([one, one], one.timeline, 2 * one.batch_size, False),
    "execution": lambda counted, one: counted.record_execution(one.batch_size, US, 2 * US),
    "success": lambda counted, one: counted.record_success(one.timeline, one.batch_size),
    "hit": lambda counted, one: counted.record_cache_hit(one.timeline, US),
    "miss": lambda counted, one: counted.record_cache_miss(2 * US),
    "insertion": lambda counted, one: counted.record_cache_insertion(US),
    "steps": lambda counted, one: counted.record_steps(one, US, US, US),
    "first response": lambda counted, one: counted.record_first_response(one.timeline, one.timeline.request_end),
    "failure": lambda counted, one: counted.record_failure(one, one.timeline.request_end, "OTHER"),
    "refusal": lambda counted, one: counted.record_refusal(one, InvalidArgumentError("no")),
    "load": lambda counted, one: counted.record_load(5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_revision_is_another_one_after_it(kind: str) -> None:
    counted = recorder(Measures(DEFAULT_BUCKETS, first_responses=True))
    before = counted.revision
    assert counted.revision == before
    KINDS[kind](counted, request())
    assert counted.revision != before
    counted.snapshot()
    after = counted.revision
    assert counted.revision == after


@given(st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(1, 9), st.integers(0, 200 * 10**9)), max_size=30))
@settings(deadline=None)
def test_whatever_is_recorded_adds_up(steps: list[tuple[str, int, int]]) -> None:
    counted = recorder()
    items = 0
    for kind, size, computed in steps:
        KINDS[kind](counted, request(size, computed=computed))
        items += {"batch": 2 * size, "success": size, "steps": size}.get(kind, 0)
    found = counted.snapshot()
    expect_sum(found)
    kinds = [kind for kind, _, _ in steps]
    assert found.inference_count == items
    assert found.execution_count == sum(kinds.count(kind) for kind in ("batch", "execution", "steps"))
    assert found.fail.count == kinds.count("failure")
    assert sum(found.refusals.values()) == kinds.count("refusal")
    assert (found.cache_hit.count, found.cache_miss.count) == (kinds.count("hit"), kinds.count("miss"))


def test_every_snapshot_adds_up_while_threads_record_and_no_counter_goes_back() -> None:
    counted = recorder()

    def record(seed: int) -> None:
        chance = Random(seed)
        for _ in range(400):
            KINDS[chance.choice(list(KINDS))](counted, request(chance.randint(1, 8), computed=chance.randint(0, 10**9)))

    writers = [threading.Thread(target=record, args=(seed,)) for seed in range(3)]
    for one in writers:
        one.start()
    snapshots = [counted.snapshot()]
    while any(one.is_alive() for one in writers):
        snapshots.append(counted.snapshot())
    snapshots.append(counted.snapshot())
    for before, after in pairwise(snapshots):
        expect_sum(after)
        expect_no_way_back(before, after)


def expect_no_way_back(before: ModelStatistics, after: ModelStatistics) -> None:
    for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit"):
        old, new = getattr(before, name), getattr(after, name)
        assert old.count <= new.count
        assert old.ns <= new.ns
    assert before.inference_count <= after.inference_count
    assert all(count >= 0 for count in after.request_durations.since(before.request_durations).counts)
    assert all(after.failures[reason] >= count for reason, count in before.failures.items())
    assert all(after.refusals[reason] >= count for reason, count in before.refusals.items())
