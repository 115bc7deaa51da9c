"""Requests that leave the queue without being executed, and batches that are for one instance only; in both pools."""

import threading
from typing import Any

import pytest
from tests.unit.execution.forwarding import Heard
from tests.unit.execution.schedulers import Patience, Seated, Ticket
from tests.unit.execution.waiting import wait_until

from atoll.errors import CancelledError, UnavailableError
from atoll.execution.driving import PROOF
from atoll.request import InferenceRequest
from atoll.trampoline import soon

PATIENCE_S = 30
MS = 10**6
HOUR_NS = 3600 * 10**9


def cancelled(answer: Any) -> bool:
    return isinstance(answer.error, CancelledError)


def test_a_cancelled_request_is_answered_while_the_instance_is_busy(make: Any) -> None:
    harness = make()
    harness.fakes[0].hold()
    _, first = harness.submit()
    assert harness.fakes[0].entered.wait(PATIENCE_S)
    second_request, second = harness.submit(value=5)
    _, third = harness.submit(value=7)
    second_request.cancel()
    assert cancelled(second.response())
    assert (harness.pool.pending(), harness.pool.in_flight()) == (1, 2)
    second_request.cancel()
    harness.fakes[0].release()
    first.response()
    assert third.response()["OUT"].tolist() == [[14, 14]]
    assert [batch["IN"].tolist() for batch in harness.fakes[0].batches] == [[[1, 1]], [[7, 7]]]
    assert (second.finals, harness.statistics.snapshot().failures["CANCELED"]) == (1, 1)


def test_so_it_is_by_instances_that_take_requests(forwarding: Any) -> None:
    harness = forwarding()
    [fake] = harness.fakes.values()
    harness.submit()
    second_request, second = harness.submit()
    _, third = harness.submit()
    second_request.cancel()
    assert (second.finals, second.error) == (1, "request was cancelled before it was executed")
    assert harness.pool.in_flight() == 2
    fake.respond(fake.waiting[0])
    fake.release(1)
    assert len(fake.waiting) == 1
    fake.waiting[0].cancel()
    assert fake.cancelled == fake.waiting  # of one that is executed the model hears
    fake.respond(fake.waiting[0])
    assert third.finals == 1


def test_a_late_request_is_refused_when_it_is_time_though_no_instance_is_free(make: Any) -> None:
    harness = make(scheduler=Patience())
    harness.fakes[0].hold()
    _, first = harness.submit(patience_ns=HOUR_NS)
    assert harness.fakes[0].entered.wait(PATIENCE_S)
    _, later = harness.submit(patience_ns=HOUR_NS)
    _, soon_late = harness.submit(patience_ns=20 * MS)
    answer = soon_late.response()
    assert isinstance(answer.error, UnavailableError)
    assert str(answer.error) == "it has waited too long"
    assert harness.pool.in_flight() == 2
    harness.fakes[0].release()
    for one in (first, later):
        assert one.response().error is None
    assert harness.statistics.snapshot().failures["REJECTED"] == 1


def test_a_late_request_of_the_other_pool(forwarding: Any) -> None:
    harness = forwarding(scheduler=Patience())
    harness.submit(patience_ns=HOUR_NS)
    _, late = harness.submit(patience_ns=20 * MS)
    wait_until(lambda: late.finals, "the late one is refused")
    assert late.error == "it has waited too long"
    assert harness.pool.in_flight() == 1


@pytest.mark.parametrize("short", [False, True])
def test_a_batch_goes_to_its_own_instance(make: Any, short: bool) -> None:
    scheduler = Seated()
    harness = make(count=3, scheduler=scheduler)
    defer = soon if short else None
    if short:
        for seat in range(3):
            for _ in range(PROOF):
                harness.submit(seat=seat)[1].response()
        wait_until(lambda: not harness.pool.in_flight(), "all is done")
    for fake in harness.fakes:
        fake.batches.clear()
    senders = [harness.submit(value=number, defer=defer, seat=number % 3)[1] for number in range(30)]
    for number, sender in enumerate(senders):
        assert sender.response()["OUT"].tolist() == [[2 * number] * 2]
    for seat, fake in enumerate(harness.fakes):
        assert [batch["IN"].tolist()[0][0] for batch in fake.batches] == list(range(seat, 30, 3))
    wait_until(lambda: not scheduler.busy, "every batch has been followed to its end")
    assert sum(count for _, count in scheduler.ended) == 30 + (3 * PROOF if short else 0)


def test_one_instance_that_is_busy_does_not_hold_up_another(make: Any) -> None:
    harness = make(count=2, scheduler=Seated())
    harness.fakes[0].hold()
    _, first = harness.submit(seat=0)
    assert harness.fakes[0].entered.wait(PATIENCE_S)
    _, behind = harness.submit(seat=0)
    for value in range(5):
        assert harness.submit(value=value, seat=1)[1].response()["OUT"].tolist() == [[2 * value] * 2]
    harness.fakes[0].release()
    first.response()
    behind.response()


def test_instances_that_take_requests_get_their_own_and_are_followed(forwarding: Any) -> None:
    scheduler = Seated()
    harness = forwarding(count=2, scheduler=scheduler)
    heard: list[tuple[InferenceRequest, Heard]] = [harness.submit(seat=number % 2) for number in range(4)]
    fakes = list(harness.fakes.values())
    assert [fake.waiting for fake in fakes] == [[heard[0][0]], [heard[1][0]]]
    fakes[0].respond(heard[0][0])
    assert not fakes[0].waiting  # the execution has not returned
    fakes[0].release(1)
    assert fakes[0].waiting == [heard[2][0]]
    fakes[1].die()
    assert scheduler.ended == [(0, 1), (1, 1)]
    assert heard[1][1].error == "it died"
    fakes[1].come_back()
    assert fakes[1].waiting == [heard[3][0]]


def test_only_who_holds_the_permit_executes(make: Any) -> None:
    tickets: list[Ticket] = []
    permits = [Ticket(tickets), Ticket(tickets)]
    harness = make(count=2, dynamic=False, permits=permits)
    for fake in harness.fakes:
        fake.hold()
    senders = [harness.submit(value=value)[1] for value in range(6)]
    wait_until(lambda: any(fake.entered.is_set() for fake in harness.fakes), "one executes")
    threading.Event().wait(0.05)
    assert sum(len(fake.batches) for fake in harness.fakes) == 1
    for fake in harness.fakes:
        fake.release()
    while any(sender.answers.empty() for sender in senders):
        permits[0].grant_next()
        threading.Event().wait(0.001)
    assert [sender.response()["OUT"].tolist()[0][0] for sender in senders] == [0, 2, 4, 6, 8, 10]
    wait_until(lambda: not harness.pool.in_flight(), "all is done")
    permits[0].grant_next()
    wait_until(lambda: not any(one.holds for one in permits), "nobody holds what nobody needs")


def test_the_other_pool_asks_for_permits_too(forwarding: Any) -> None:
    tickets: list[Ticket] = []
    permits = [Ticket(tickets), Ticket(tickets)]
    harness = forwarding(count=2, concurrency=4, max_batch=1, permits=permits)
    heard = [harness.submit()[1] for _ in range(4)]
    fakes = list(harness.fakes.values())
    for _ in range(4):
        [busy] = [fake for fake in fakes if fake.waiting]
        assert len(busy.waiting) == 1
        busy.respond(busy.waiting[0])
        [number] = busy.batches
        busy.release(number)
        if not any(fake.waiting for fake in fakes):
            permits[0].grant_next()
    assert [one.finals for one in heard] == [1, 1, 1, 1]
    permits[0].grant_next()
    assert not any(one.holds or one.waiting for one in permits)


def test_a_request_that_is_to_be_executed_again_can_be_too_late_for_it(forwarding: Any) -> None:
    harness = forwarding(scheduler=Patience())
    request, heard = harness.submit(patience_ns=20 * MS)
    [fake] = harness.fakes.values()
    assert fake.waiting == [request]
    threading.Event().wait(0.1)  # the alarm of its first time in the queue has rung, and found nothing
    fake.reschedule(request)  # its batch goes on, and nothing else happens
    wait_until(lambda: heard.finals, "it was refused")
    assert heard.error == "it has waited too long"
    assert harness.pool.in_flight() == 0
    fake.release(1)
