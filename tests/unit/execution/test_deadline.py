"""Deadlines: exactly one final answer, the error where it came too late, and nothing kept afterwards."""

import gc
import threading
import weakref
from collections.abc import Iterator
from time import monotonic_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import DeadlineExceededError
from atoll.execution.clock import Clock
from atoll.execution.deadline import Deadlines, WatchedSender
from atoll.request import InferenceRequest, InferenceResponse
from atoll.trampoline import soon

SECOND_NS = 10**9
PATIENCE_S = 30


class Heard:
    """Where answers go; `ended` when the final one is there."""

    def __init__(self) -> None:
        self.said: list[tuple[InferenceResponse | None, bool]] = []
        self.ended = threading.Event()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.said.append((response, final))
        if final:
            self.ended.set()

    @property
    def error(self) -> Exception | None:
        response = self.said[-1][0]
        return None if response is None else response.error


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.close()


def make(heard: Heard, own_ns: int = 0) -> InferenceRequest:
    request = InferenceRequest("m", {}, heard, id="7")
    request.timeline.request_start = monotonic_ns()
    request.deadline_ns = request.timeline.request_start + own_ns if own_ns else 0
    return request


def test_nothing_limits_most_requests(clock: Clock) -> None:
    heard = Heard()
    request = make(heard)
    assert Deadlines(clock, "m", "1").watch(request) is None
    assert request.sender is heard


@pytest.mark.parametrize("whose", ["request", "model", "both"])
def test_a_late_request_is_answered_when_it_is_time_and_cancelled(clock: Clock, whose: str) -> None:
    heard, told = Heard(), threading.Event()
    short_ns = 30_000_000
    request = make(heard, {"request": short_ns, "model": 0, "both": 3600 * SECOND_NS}[whose])
    request.on_cancel = lambda one: told.set()
    deadlines = Deadlines(clock, "m", "3", 0 if whose == "request" else short_ns)
    began_ns = monotonic_ns()
    watched = deadlines.watch(request)
    assert watched is not None
    assert heard.ended.wait(PATIENCE_S)
    assert told.wait(PATIENCE_S)
    assert monotonic_ns() - began_ns >= short_ns - 1_000_000
    assert request.cancelled
    assert isinstance(heard.error, DeadlineExceededError)
    assert str(heard.error) == "[request id: 7] model 'm' did not answer within the 30 ms that the request had"
    assert heard.said[-1][0].model_version == "3"  # type: ignore[union-attr]
    request.sender.send(InferenceResponse("m", "3"), True)  # the instance's answer, which comes later
    assert len(heard.said) == 1


def test_one_that_is_too_late_already_is_refused(clock: Clock) -> None:
    heard = Heard()
    request = make(heard)
    request.deadline_ns = monotonic_ns() - 1
    with pytest.raises(DeadlineExceededError):
        Deadlines(clock, "m", "1").watch(request)
    assert request.sender is heard


def test_an_answer_in_time_ends_it_and_nothing_is_kept(clock: Clock) -> None:
    heard = Heard()
    request = make(heard, 3600 * SECOND_NS)
    assert Deadlines(clock, "m", "1").watch(request) is not None
    request.sender.send(InferenceResponse("m", "1"), False)
    request.sender.send(None, True)
    assert [final for _, final in heard.said] == [False, True]
    seen = weakref.ref(heard)
    gc.disable()
    try:
        del request, heard
        assert seen() is None
    finally:
        gc.enable()


def test_a_refused_request_is_its_makers_again(clock: Clock) -> None:
    heard = Heard()
    request = make(heard, 20_000_000)
    watched = Deadlines(clock, "m", "1").watch(request)
    assert watched is not None
    watched.unwatch()
    assert request.sender is heard
    after = threading.Event()
    clock.at(monotonic_ns() + 40_000_000, after.set)
    assert after.wait(PATIENCE_S)
    assert not heard.said
    assert not request.cancelled


@given(st.permutations(["more", "more", "answer", "exceed"]))
def test_whatever_comes_first_there_is_one_final_answer_and_nothing_after_it(order: list[str]) -> None:
    heard = Heard()
    clock = Clock()  # never started: its moment comes when the test says so
    request = make(heard, 3600 * SECOND_NS)
    watched = Deadlines(clock, "m", "1").watch(request)
    assert isinstance(watched, WatchedSender)
    for one in order:
        if one == "exceed":
            watched.exceed()
        else:
            watched.send(InferenceResponse("m", "1"), one == "answer")
    clock.close()
    finals = [final for _, final in heard.said]
    assert finals.count(True) == 1
    assert finals[-1]
    first = min(order.index("answer"), order.index("exceed"))
    assert len(finals) == 1 + order[:first].count("more")
    assert (heard.error is not None) == (order[first] == "exceed")


def test_what_an_answer_causes_does_not_hold_up_the_clock(clock: Clock) -> None:
    heard = Heard()
    request = make(heard, 3600 * SECOND_NS)
    watched = Deadlines(clock, "m", "1").watch(request)
    assert watched is not None

    class Causing(Heard):
        def send(self, response: InferenceResponse | None, final: bool) -> None:
            heard.send(response, final)
            if not final:
                soon(waits_for_the_end)

    def waits_for_the_end() -> None:
        assert watched is not None
        clock.at(monotonic_ns(), watched.exceed)
        ended.append(heard.ended.wait(PATIENCE_S))

    ended: list[bool] = []
    watched._sender = Causing()
    request.sender.send(InferenceResponse("m", "1"), False)
    assert ended == [True]
    assert isinstance(heard.error, DeadlineExceededError)
