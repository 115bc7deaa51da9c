"""Responses that leave in the order of the requests, whoever answers first and from whichever thread."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scheduling.queued import Turned, configuration, policy, queued

from atoll.request import InferenceRequest, InferenceResponse
from atoll.scheduling.queueing.response_order import ResponseOrder


@dataclass
class Heard:
    """What left, in its order: the number of the request, the number of its response, whether it was the final one."""

    order: ResponseOrder = field(default_factory=ResponseOrder)
    sent: list[tuple[int, int, bool]] = field(default_factory=list)

    def request(self, number: int) -> InferenceRequest:
        return InferenceRequest("m", {}, _Ear(self, number), id=str(number))

    def admitted(self, count: int) -> list[InferenceRequest]:
        requests = [self.request(number) for number in range(count)]
        self.order.admit(requests)
        return requests


@dataclass
class _Ear:
    heard: Heard
    number: int

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.heard.sent.append((self.number, int(response.id) if response else -1, final))


def response(number: int) -> InferenceResponse:
    return InferenceResponse("m", "1", str(number))


def answer(request: InferenceRequest) -> None:
    request.sender.send(response(0), True)


def test_who_is_answered_first_waits_for_those_before_him() -> None:
    heard = Heard()
    first, second, third = heard.admitted(3)
    answer(third)
    answer(second)
    assert heard.sent == []
    answer(first)
    assert heard.sent == [(0, 0, True), (1, 0, True), (2, 0, True)]
    assert heard.order.waiting() == 0


def test_the_first_in_the_line_streams_and_the_others_responses_are_kept() -> None:
    heard = Heard()
    first, second = heard.admitted(2)
    second.sender.send(response(0), False)
    first.sender.send(response(0), False)
    assert heard.sent == [(0, 0, False)]
    second.sender.send(response(1), False)
    first.sender.send(None, True)  # the end may come without a response
    assert heard.sent == [(0, 0, False), (0, -1, True), (1, 0, False), (1, 1, False)]
    second.sender.send(response(2), True)
    assert heard.sent[-1] == (1, 2, True)


def test_one_that_runs_once_more_keeps_its_place() -> None:
    heard = Heard()
    first, second = heard.admitted(2)
    place = first.sender
    heard.order.admit([first])
    assert first.sender is place
    answer(second)
    assert heard.sent == []
    answer(first)
    assert [number for number, _, _ in heard.sent] == [0, 1]


def test_the_lines_of_two_models_are_two_lines() -> None:
    outer, inner = Heard(), ResponseOrder()
    [request] = outer.admitted(1)
    inner.admit([request])
    assert inner.waiting() == 1
    answer(request)
    assert outer.sent == [(0, 0, True)]


def test_what_an_answer_causes_is_no_recursion() -> None:
    """Who hears an answer may be who answers the next request."""
    heard = Heard()
    requests = heard.admitted(5000)

    class Chain:
        def __init__(self, number: int):
            self.number = number

        def send(self, response: InferenceResponse | None, final: bool) -> None:
            heard.sent.append((self.number, 0, final))
            if self.number + 1 < len(requests):
                answer(requests[self.number + 1])

    for number, request in enumerate(requests):
        place: Any = request.sender
        place.sender = Chain(number)
    answer(requests[0])
    assert [number for number, _, _ in heard.sent] == list(range(5000))


def test_a_sender_that_fails_holds_up_nobody() -> None:
    heard = Heard()
    first, second = heard.admitted(2)

    class Broken:
        def send(self, response: InferenceResponse | None, final: bool) -> None:
            raise RuntimeError("it must not, and does")

    place: Any = first.sender
    place.sender = Broken()
    answer(second)
    with pytest.raises(RuntimeError):
        answer(first)
    heard.order.pass_on()
    assert heard.sent == [(1, 0, True)]


@given(st.data())
def test_order_is_kept_and_nothing_is_lost_or_held_for_nothing(data: st.DataObject) -> None:
    heard = Heard()
    open_requests: list[tuple[int, InferenceRequest]] = []
    given_out: dict[int, int] = {}
    ended: set[int] = set()
    for _ in range(data.draw(st.integers(1, 60))):
        if not open_requests or data.draw(st.booleans()):
            number = len(given_out)
            request = heard.request(number)
            heard.order.admit([request])
            given_out[number] = 0
            open_requests.append((number, request))
            continue
        at = data.draw(st.integers(0, len(open_requests) - 1))
        number, request = open_requests[at]
        final = data.draw(st.booleans())
        request.sender.send(response(given_out[number]), final)
        given_out[number] += 1
        if final:
            open_requests.pop(at)
            ended.add(number)
        first_open = min((one for one, _ in open_requests), default=len(given_out))
        expected = [(one, at) for one in range(first_open) for at in range(given_out[one])]
        expected += [(first_open, at) for at in range(given_out.get(first_open, 0))]
        assert [(one, at) for one, at, _ in heard.sent] == expected
    assert heard.order.waiting() == len(given_out) - len({n for n in ended if all(m in ended for m in range(n))})


@pytest.fixture
def threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_answers_from_many_threads_leave_in_order(threads_change_often: None) -> None:
    heard = Heard()
    requests = heard.admitted(3000)
    shares = [requests[at::5] for at in range(5)]
    together = threading.Barrier(5)

    def work(share: list[InferenceRequest], backwards: bool) -> None:
        together.wait()
        for at in range(0, len(share), 10):
            part = share[at : at + 10]
            for request in reversed(part) if backwards else part:
                request.sender.send(response(0), False)
                request.sender.send(response(1), True)

    threads = [threading.Thread(target=work, args=(share, at % 2 == 0)) for at, share in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard.sent == [(number, at, at == 1) for number in range(3000) for at in range(2)]
    assert heard.order.waiting() == 0


def test_the_line_is_that_of_the_requests_that_run() -> None:
    """As in the real server: what is refused, or late, has no place in it."""
    one = Turned(configuration(max_batch_size=1, preserve_ordering=True, default_queue_policy=policy(timeout_ms=100)))
    one.enqueue(queued("late"))
    one.ms += 100
    one.enqueue(gone := queued("gone"), queued("first"), queued("second"))
    assert one.scheduler.withdraw(gone)
    assert one.all_names() == [["first"], ["second"]]
    assert [name for name, _ in one.expired()] == ["late"]
    scheduler: Any = one.scheduler
    assert scheduler._order.waiting() == 2
