"""Sequences in both pools: who runs what, what empty slots hold, and what frees a slot."""

import threading
from time import monotonic_ns
from typing import Any

import pytest
from tests.unit.execution.forwarding import FakeRequests, Forwarding, Heard
from tests.unit.execution.waiting import wait_until
from tests.unit.scheduling.sequences import Direct, Oldest, configuration

from atoll.errors import InvalidArgumentError
from atoll.execution.request_instance import RequestModelInstance
from atoll.request import InferenceRequest
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import Scheduler

PATIENCE_S = 30
HOUR_MS = 3600 * 1000


def batcher(**facts: Any) -> Scheduler:
    return choose_scheduler(configuration(**{"idle_ms": HOUR_MS, **facts}))


# ---- instances that take arrays


def ask(harness: Any, correlation_id: int, flags: str = "", value: int = 1) -> tuple[InferenceRequest, Any]:
    request, sender = harness.submit(
        value=value, sequence_id=correlation_id, sequence_start="S" in flags, sequence_end="E" in flags
    )
    return request, sender


def test_a_sequence_stays_with_its_instance(make: Any) -> None:
    harness = make(count=2, scheduler=batcher(slots=1))
    for one in (1, 2):
        ask(harness, one, "S", one)[1].response()
    for _ in range(5):
        for one in (1, 2):
            assert ask(harness, one, value=one)[1].response()["OUT"].tolist() == [[2 * one, 2 * one]]
    values = [{batch["IN"][0, 0] for batch in fake.batches} for fake in harness.fakes]
    assert sorted(map(sorted, values)) == [[1], [2]]


def test_many_sequences_from_many_threads(make: Any) -> None:
    harness = make(count=3, scheduler=batcher(oldest=Oldest(max_candidate_sequences=4)))
    answers: dict[int, list[Any]] = {}

    def client(one: int) -> None:
        senders = [ask(harness, one, "S" if n == 0 else "E" if n == 19 else "", one * 100 + n)[1] for n in range(20)]
        answers[one] = [sender.response()["OUT"][0, 0] for sender in senders]

    threads = [threading.Thread(target=client, args=(one,)) for one in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == {one: [2 * (one * 100 + n) for n in range(20)] for one in range(1, 25)}
    assert harness.pool.in_flight() == 0
    seen = [[int(row[0]) for batch in fake.batches for row in batch["IN"]] for fake in harness.fakes]
    assert sorted(value for rows in seen for value in rows) == sorted(
        one * 100 + n for one in range(1, 25) for n in range(20)
    )
    for rows in seen:  # each sequence in one place, and in order
        ours = {value // 100 for value in rows}
        assert all([value % 100 for value in rows if value // 100 == one] == list(range(20)) for one in ours)


def test_a_cancelled_start_frees_its_slot_at_once(make: Any) -> None:
    harness = make(scheduler=batcher(slots=1))
    harness.fakes[0].hold()
    _, first = ask(harness, 1, "S")
    assert harness.fakes[0].entered.wait(PATIENCE_S)
    start, refused = ask(harness, 2, "S")
    _, following = ask(harness, 2)
    _, third = ask(harness, 3, "S", 3)
    start.cancel()
    assert "was cancelled" in str(refused.response().error)
    assert "was not started" in str(following.response().error)  # by the alarm, soon
    ask(harness, 1, "E")
    harness.fakes[0].release()
    first.response()
    assert third.response()["OUT"].tolist() == [[6, 6]]
    wait_until(lambda: harness.pool.in_flight() == 0, "all is answered")


def test_an_idle_sequence_ends_and_the_next_one_begins(make: Any) -> None:
    harness = make(scheduler=batcher(slots=1, idle_ms=20))
    ask(harness, 1, "S")[1].response()
    assert ask(harness, 2, "S", 2)[1].response()["OUT"].tolist() == [[4, 4]]
    with pytest.raises(InvalidArgumentError, match="must specify the START flag"):
        ask(harness, 1)


def test_the_delay_of_slots_ends_by_itself(make: Any) -> None:
    direct = Direct(minimum_slot_utilization=1.0, max_queue_delay_microseconds=5_000)
    harness = make(count=2, scheduler=batcher(slots=2, direct=direct))
    senders = [ask(harness, one, "S", one)[1] for one in (1, 2)]  # one in each instance: neither is utilized
    assert [sender.response()["OUT"][0, 0] for sender in senders] == [2, 4]


def test_what_is_queued_runs_before_the_pool_has_drained(make: Any) -> None:
    direct = Direct(minimum_slot_utilization=1.0, max_queue_delay_microseconds=HOUR_MS * 1000)
    harness = make(scheduler=batcher(slots=2, direct=direct))
    _, sender = ask(harness, 1, "S")
    harness.pool.refuse()
    sender.response()
    assert harness.pool.drain(monotonic_ns() + PATIENCE_S * 10**9)


def test_a_pool_that_stops_answers_the_backlog(make: Any) -> None:
    harness = make(scheduler=batcher(slots=1))
    ask(harness, 1, "S")[1].response()
    senders = [ask(harness, one, "S")[1] for one in (2, 3)]
    assert harness.stop()
    assert ["was stopped" in str(sender.response().error) for sender in senders] == [True, True]


# ---- instances that take requests


def tell(harness: Forwarding, correlation_id: int, flags: str = "") -> tuple[InferenceRequest, Heard]:
    return harness.submit(sequence_id=correlation_id, sequence_start="S" in flags, sequence_end="E" in flags)


def answer(fake: FakeRequests) -> None:
    """All that it has; then the batches are done."""
    for request in list(fake.waiting):
        if request.filler:
            fake.waiting.remove(request)
        else:
            fake.respond(request)
    for batch in list(fake.batches):
        fake.release(batch)


def ids(requests: list[InferenceRequest]) -> list[object]:
    return [None if one.sequence is None else one.sequence.correlation_id for one in requests]  # type: ignore[attr-defined]


def test_one_batch_at_a_time_however_many_an_instance_takes(forwarding: Any) -> None:
    harness = forwarding(concurrency=4, depth=4, scheduler=batcher(slots=4))
    [fake] = harness.fakes.values()
    for one in (1, 2, 3):
        tell(harness, one, "S")
    assert ids(fake.waiting) == [1]
    answer(fake)
    assert ids(fake.waiting) == [None, 2, 3]
    assert [one.filler for one in fake.waiting] == [True, False, False]


def test_candidates_may_run_side_by_side(forwarding: Any) -> None:
    harness = forwarding(concurrency=4, scheduler=batcher(slots=2, oldest=Oldest(max_candidate_sequences=8)))
    [fake] = harness.fakes.values()
    for one in (1, 2, 1):
        tell(harness, one, "S")
    assert ids(fake.waiting) == [1, 2]
    answer(fake)
    assert ids(fake.waiting) == [1]


def test_an_instance_that_waits_for_company_holds_up_no_other(forwarding: Any) -> None:
    direct = Direct(minimum_slot_utilization=1.0, max_queue_delay_microseconds=HOUR_MS * 1000)
    harness = forwarding(count=2, scheduler=batcher(slots=2, direct=direct))
    first, second = harness.fakes.values()
    for one in (1, 2, 3, 4):
        tell(harness, one, "S")
        if one < 3:
            assert not first.waiting
    assert (ids(first.waiting), ids(second.waiting)) == ([1, 3], [2, 4])
    answer(second)
    tell(harness, 1)  # waits for the third
    tell(harness, 2)
    tell(harness, 4)
    assert ids(second.waiting) == [2, 4]


def test_the_earliest_of_several_delays_is_kept(forwarding: Any) -> None:
    direct = Direct(minimum_slot_utilization=1.0, max_queue_delay_microseconds=30_000)
    harness = forwarding(count=2, scheduler=batcher(slots=2, direct=direct))
    first, second = harness.fakes.values()
    tell(harness, 1, "S")
    threading.Event().wait(0.01)
    tell(harness, 2, "S")
    wait_until(lambda: first.waiting and second.waiting, "both delays end")


def test_a_process_that_ends_ends_its_sequences(forwarding: Any) -> None:
    harness = forwarding(count=2, scheduler=batcher(slots=1))
    first, second = harness.fakes.values()
    for one in (1, 2):
        tell(harness, one, "S")
    answer(first)
    answer(second)
    _, executing = tell(harness, 1)
    _, queued = tell(harness, 1)
    _, backlog = tell(harness, 3, "S")
    first.die()
    assert executing.error == "it died"
    wait_until(lambda: queued.finals, "what was queued is refused")
    assert queued.error.startswith("sequence 1 of model 'm' is lost, for the process of its instance has ended")
    with pytest.raises(InvalidArgumentError, match="must specify the START flag"):
        tell(harness, 1)
    assert not backlog.finals
    first.come_back()
    assert ids(first.waiting) == [3]  # it has the slot
    _, other = tell(harness, 2)
    answer(second)
    assert other.finals == 1


def test_a_request_is_given_back_to_the_same_slot(forwarding: Any) -> None:
    harness = forwarding(scheduler=batcher(slots=2, iterative=True))
    [fake] = harness.fakes.values()
    _, first = harness.submit()
    _, second = harness.submit()
    fake.reschedule(fake.waiting[0])
    fake.release(next(iter(fake.batches)))
    real = [one for one in fake.waiting if not one.filler]
    assert sorted(ids(real), key=str) == [1, 2]  # in flight together, each in its slot
    for one in real:
        fake.respond(one)
    fake.release(next(iter(fake.batches)))
    assert (first.finals, second.finals) == (1, 1)
    assert harness.pool.in_flight() == 0


def test_a_cancelled_request_that_waits_for_its_next_execution(forwarding: Any) -> None:
    harness = forwarding(scheduler=batcher(slots=1, iterative=True))
    [fake] = harness.fakes.values()
    request, heard = harness.submit()
    _, other = harness.submit()
    fake.waiting.remove(request)
    fake.answers.reschedule(request)
    request.cancel()
    assert heard.error == "request was cancelled before it was executed"
    fake.release(next(iter(fake.batches)))
    [waiting] = fake.waiting
    fake.respond(waiting)
    assert other.finals == 1


def test_instances_may_change_under_sequences(forwarding: Any) -> None:
    harness = forwarding(count=2, scheduler=batcher(slots=1))
    instances: list[RequestModelInstance] = harness.pool.instances()
    for one in (1, 2):
        tell(harness, one, "S")
    _, waiting = tell(harness, 3, "S")
    added = harness.instance()
    assert harness.pool.change_instances([added], [instances[0]])
    assert ids(harness.fakes[added].waiting) == [3]
    assert not waiting.finals
    answer(harness.fakes[instances[0]])
    with pytest.raises(InvalidArgumentError, match="must specify the START flag"):
        tell(harness, 1)


def test_what_is_lost_with_an_instance_is_refused(forwarding: Any) -> None:
    harness = forwarding(count=2, scheduler=batcher(slots=1))
    instances = harness.pool.instances()
    tell(harness, 1, "S")
    _, lost = tell(harness, 1)
    assert harness.pool.change_instances([], [instances[0]])
    wait_until(lambda: lost.finals, "it is refused")
    assert "its instance was taken out of service" in lost.error


def test_what_has_not_begun_moves_to_another_instance(make: Any) -> None:
    harness = make(count=2, scheduler=batcher(slots=1))
    for fake in harness.fakes:
        fake.hold()
    _, first = ask(harness, 1, "S", 1)
    _, second = ask(harness, 2, "S", 2)
    assert all(fake.entered.wait(PATIENCE_S) for fake in harness.fakes)
    _, third = ask(harness, 3, "S", 3)
    ask(harness, 2, "E", 2)
    leaving = next(one for one in harness.pool.instances() if one._backend is harness.fakes[0])
    assert harness.pool.change_instances([], [leaving])
    for fake in harness.fakes:
        fake.release()
    assert [one.response()["OUT"][0, 0] for one in (first, second, third)] == [2, 4, 6]


def test_what_was_cancelled_while_it_ran_is_not_executed_again(forwarding: Any) -> None:
    harness = forwarding(scheduler=batcher(slots=1, iterative=True))
    [fake] = harness.fakes.values()
    request, heard = harness.submit()
    _, other = harness.submit()
    request.cancel()
    assert fake.cancelled == [request]  # the model may know
    fake.reschedule(request)
    assert heard.error == "request was cancelled before it was executed again"
    fake.release(next(iter(fake.batches)))
    [waiting] = fake.waiting  # the other one has the slot
    fake.respond(waiting)
    assert other.finals == 1
    assert harness.pool.in_flight() == 0
