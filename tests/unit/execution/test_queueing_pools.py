"""Queue policies, priorities and ordered responses through both pools: instances that are busy, fail, die and go."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.forwarding import Forwarding, Heard
from tests.unit.execution.test_forwarding_pool import STEPS, Run
from tests.unit.scheduling.queued import DELAY, configuration, policy

from atoll.errors import CancelledError, InvalidArgumentError, OverloadedError, UnavailableError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.scheduling.choose import choose_scheduler
from atoll.tensor import DataType, Tensor

PATIENCE_S = 30
HOUR_MS = 3_600_000


@dataclass
class Line:
    """What was answered, by the names of the requests, in the order in which the answers left."""

    left: list[tuple[str, str]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def request(self, name: str, value: int = 1, priority: int = 0, timeout_ms: int = 0) -> InferenceRequest:
        array = np.full((1, 2), value, np.int32)
        tensor = Tensor("IN", DataType.INT32, array.shape, array=array)
        request = InferenceRequest(
            "m", {"IN": tensor}, _Ear(self, name), id=name, priority=priority, timeout_us=timeout_ms * 1000
        )
        request.timeline.request_start = monotonic_ns()
        return request

    def submit(self, harness: Any, *names: str, **facts: int) -> list[InferenceRequest]:
        requests = [self.request(name, **facts) for name in names]
        for request in requests:
            harness.pool.submit(request)
        return requests

    def wait(self, count: int) -> list[str]:
        """The names of the answers, when there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.left) >= count, PATIENCE_S), self.left
            assert len(self.left) == count
            return [name for name, _ in self.left]

    def texts(self) -> dict[str, str]:
        return dict(self.left)


@dataclass
class _Ear:
    line: Line
    name: str
    ended: bool = False

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert not self.ended
        self.ended = final
        with self.line.changed:
            if response is not None:
                self.line.left.append((self.name, str(response.error or "")))
            self.line.changed.notify_all()


@pytest.fixture
def forwarding() -> Iterator[Callable[..., Forwarding]]:
    made: list[Forwarding] = []

    def build(count: int = 1, **batching: Any) -> Forwarding:
        made.append(Forwarding(count, scheduler=choose_scheduler(configuration(**batching))))
        return made[-1]

    yield build
    for one in made:
        one.stop()


def held(make: Any, count: int = 1, compute: Any = None, **batching: Any) -> Any:
    """An InstancePool whose instances do not return before they are released."""
    options = {} if compute is None else {"compute": compute}
    harness = make(count=count, scheduler=choose_scheduler(configuration(**batching)), **options)
    for fake in harness.fakes:
        fake.hold()
    return harness


def busy(harness: Any, line: Line, name: str) -> None:
    """This request runs in an instance, and does not end."""
    line.submit(harness, name)
    deadline = monotonic_ns() + PATIENCE_S * 10**9
    while not any(fake.entered.is_set() for fake in harness.fakes):
        assert monotonic_ns() < deadline
        threading.Event().wait(0.001)


class TestTimeouts:
    def test_it_is_over_when_it_is_over_though_the_only_instance_is_busy(self, make: Any) -> None:
        line = Line()
        harness = held(make, default_queue_policy=policy(timeout_ms=20))
        busy(harness, line, "running")
        line.submit(harness, "late", "later")
        assert line.wait(2) == ["late", "later"]
        assert set(line.texts().values()) == {"Request timeout expired"}
        assert (harness.pool.in_flight(), harness.pool.pending()) == (1, 0)
        assert harness.statistics.snapshot().failures["REJECTED"] == 2
        harness.fakes[0].release()
        assert line.wait(3)[-1] == "running"
        assert len(harness.fakes[0].batches) == 1

    def test_it_does_not_wait_for_company_longer_than_that(self, make: Any) -> None:
        line = Line()
        harness = held(make, delay_ms=HOUR_MS, default_queue_policy=policy(timeout_ms=20))
        line.submit(harness, "alone")
        assert line.wait(1) == ["alone"]
        assert line.texts() == {"alone": "Request timeout expired"}

    def test_a_pool_that_is_drained_lets_nobody_wait_and_nobody_be_late(self, make: Any) -> None:
        line = Line()
        harness = make(
            scheduler=choose_scheduler(
                configuration(delay_ms=2 * HOUR_MS, default_queue_policy=policy(timeout_ms=HOUR_MS))
            )
        )
        line.submit(harness, "alone")
        harness.pool.refuse()
        assert line.wait(1) == ["alone"]
        assert line.texts() == {"alone": ""}

    def test_an_override_comes_first(self, make: Any) -> None:
        line = Line()
        harness = held(make, default_queue_policy=policy(timeout_ms=HOUR_MS, allow_timeout_override=True))
        busy(harness, line, "running")
        line.submit(harness, "patient")
        line.submit(harness, "hasty", timeout_ms=20)
        assert line.wait(1) == ["hasty"]
        harness.fakes[0].release()
        line.wait(3)
        assert line.texts() == {"hasty": "Request timeout expired", "running": "", "patient": ""}

    def test_in_the_pool_of_instances_that_take_requests(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(default_queue_policy=policy(timeout_ms=20))
        [fake] = harness.fakes.values()
        [running, _] = line.submit(harness, "running", "late")
        assert line.wait(1) == ["late"]
        assert line.texts() == {"late": "Request timeout expired"}
        fake.respond(running)
        assert line.wait(2)[-1] == "running"
        assert harness.pool.in_flight() == 0

    @pytest.mark.parametrize("first", ["running", "waiting"])
    def test_a_model_that_stops_answers_those_too(self, make: Any, first: str) -> None:
        line = Line()
        harness = held(make, default_queue_policy=policy(timeout_ms=HOUR_MS))
        busy(harness, line, "running")
        line.submit(harness, "waiting")
        stopping = threading.Thread(target=harness.stop)
        if first == "running":
            harness.pool.refuse()
            harness.fakes[0].release()
            line.wait(2)
            stopping.start()
        else:
            stopping.start()
            assert line.wait(1) == ["waiting"]
            harness.fakes[0].release()
        stopping.join()
        assert sorted(line.texts()) == ["running", "waiting"]
        assert bool(line.texts()["waiting"]) is (first == "waiting")


class TestFullQueues:
    def test_one_too_many_is_refused_and_nothing_is_left_of_it(self, make: Any) -> None:
        line = Line()
        harness = held(make, default_queue_policy=policy(max_queue_size=2))
        busy(harness, line, "running")
        [cancelled, _] = line.submit(harness, "first", "second")
        with pytest.raises(OverloadedError, match=r"\[request id: third\] Exceeds maximum queue size"):
            line.submit(harness, "third")
        assert harness.pool.in_flight() == 3
        cancelled.cancel()
        assert line.wait(1) == ["first"]
        line.submit(harness, "fourth")
        harness.fakes[0].release()
        assert line.wait(4) == ["first", "running", "second", "fourth"]
        assert harness.statistics.snapshot().failures["REJECTED"] == 0  # as in the real server

    def test_one_too_many_of_the_other_pool(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(default_queue_policy=policy(max_queue_size=1))
        line.submit(harness, "running", "first")
        with pytest.raises(OverloadedError):
            line.submit(harness, "second")
        assert (harness.pool.in_flight(), harness.pool.pending()) == (2, 1)


def test_who_waits_is_taken_by_priority(make: Any) -> None:
    line = Line()
    harness = held(make, max_batch_size=1, priority_levels=2, default_priority_level=2)
    busy(harness, line, "running")
    for name, priority in (("low", 2), ("default", 0), ("high", 1), ("higher", 1)):
        line.submit(harness, name, priority=priority)
    harness.fakes[0].release()
    assert line.wait(5) == ["running", "high", "higher", "low", "default"]


def test_a_late_one_is_last_and_still_answered(make: Any) -> None:
    line = Line()
    late_last = policy(timeout_ms=HOUR_MS, timeout_action=DELAY, allow_timeout_override=True)
    harness = held(make, max_batch_size=1, default_queue_policy=late_last)
    busy(harness, line, "running")
    line.submit(harness, "late", timeout_ms=1)
    threading.Event().wait(0.002)
    line.submit(harness, "new", "newer")
    harness.fakes[0].release()
    assert line.wait(4) == ["running", "new", "newer", "late"]
    assert set(line.texts().values()) == {""}


class TestOrderedResponses:
    def test_a_fast_instance_does_not_overtake_a_slow_one(self, make: Any) -> None:
        line = Line()
        harness = held(make, 2, max_batch_size=1, preserve_ordering=True)
        busy(harness, line, "slow")
        [slow] = [fake for fake in harness.fakes if fake.batches]
        [fast] = [fake for fake in harness.fakes if not fake.batches]
        fast.release()
        line.submit(harness, "fast", "next")
        while len(fast.batches) < 2 or harness.pool.in_flight() > 1:
            threading.Event().wait(0.001)
        assert line.left == []
        slow.release()
        assert line.wait(3) == ["slow", "fast", "next"]

    def test_an_error_has_its_place_too(self, make: Any) -> None:
        def refuse_ones(inputs: Any) -> Any:
            if inputs["IN"][0, 0] == 1:
                raise InvalidArgumentError("not a one")
            return {"OUT": inputs["IN"]}

        line = Line()
        harness = held(make, 2, refuse_ones, max_batch_size=1, preserve_ordering=True)
        line.submit(harness, "wrong")
        line.submit(harness, "right", value=2)
        for fake in harness.fakes:
            fake.release()
        assert line.wait(2) == ["wrong", "right"]
        assert line.texts() == {"wrong": "not a one", "right": ""}

    def test_who_leaves_the_queue_is_answered_at_once_and_holds_up_nobody(self, make: Any) -> None:
        line = Line()
        harness = held(make, max_batch_size=1, preserve_ordering=True, default_queue_policy=policy(timeout_ms=20))
        busy(harness, line, "running")
        [request] = line.submit(harness, "gone")
        request.cancel()
        line.submit(harness, "late")
        assert line.wait(2) == ["gone", "late"]
        harness.fakes[0].release()
        line.submit(harness, "after")
        assert line.wait(4) == ["gone", "late", "running", "after"]

    def test_the_answers_of_a_stream_stay_together(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(2, max_batch_size=1, preserve_ordering=True)
        first, second = line.submit(harness, "first", "second")
        one, other = harness.fakes.values()
        assert (one.waiting, other.waiting) == ([first], [second])
        other.respond(second, final=False)
        one.respond(first, final=False)
        assert line.wait(1) == ["first"]
        other.respond(second)
        one.respond(first, final=False)
        assert line.wait(2) == ["first", "first"]
        one.finish(first)
        assert line.wait(4) == ["first", "first", "second", "second"]

    def test_a_process_that_dies_holds_up_nobody(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(2, max_batch_size=1, preserve_ordering=True)
        _, second = line.submit(harness, "first", "second")
        one, other = harness.fakes.values()
        other.respond(second)
        assert line.left == []
        one.die("it died")
        assert line.wait(2) == ["first", "second"]
        assert line.texts() == {"first": "it died", "second": ""}

    def test_one_that_is_cancelled_while_it_runs_is_passed_by_when_it_ends(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(2, max_batch_size=1, preserve_ordering=True)
        first, second = line.submit(harness, "first", "second")
        one, other = harness.fakes.values()
        other.respond(second)
        first.cancel()
        assert one.cancelled == [first]
        one.waiting.remove(first)
        one.answers.respond(first, [], error=CancelledError("as its client wished"))
        assert line.wait(2) == ["first", "second"]

    def test_a_pool_that_stops_lets_everything_go(self, forwarding: Any) -> None:
        line = Line()
        harness = forwarding(2, max_batch_size=1, preserve_ordering=True)
        requests = line.submit(harness, "first", "second", "third")
        list(harness.fakes.values())[1].respond(requests[1])
        assert harness.stop()
        assert [name for name in line.wait(3) if name != "third"] == ["first", "second"]
        assert harness.pool._scheduler._order.waiting() == 0


HOURS = st.sampled_from([0, HOUR_MS])
SIZES = st.sampled_from([0, 3])


class OrderedRun(Run):
    """What test_forwarding_pool.py lets happen, to a pool whose queue has rules and whose responses are in order."""

    def __init__(self, data: st.DataObject):
        draw = self.draw = data.draw
        ordered = draw(st.booleans())
        config = configuration(
            max_batch_size=draw(st.integers(1, 4)),
            preserve_ordering=ordered,
            priority_levels=0 if ordered else 2,
            default_priority_level=0 if ordered else 1,
            default_queue_policy=policy(
                timeout_ms=draw(st.sampled_from([0, HOUR_MS])), max_queue_size=draw(st.sampled_from([0, 3]))
            ),
        )
        scheduler: Any = choose_scheduler(config)
        self.harness = Forwarding(
            draw(st.integers(1, 3)),
            concurrency=draw(st.integers(1, 3)),
            depth=draw(st.integers(0, 2)),
            scheduler=scheduler,
        )
        self.asked: list[tuple[InferenceRequest, Heard]] = []
        self.deferred: list[Callable[[], None]] = []
        self.stale = []
        self.stopped = False
        self.in_pool = list(self.harness.fakes)
        self.handed_out: list[InferenceRequest] = []
        self.order = scheduler._order
        if self.order is not None:
            admit = self.order.admit

            def note(requests: Any) -> None:
                self.handed_out += [one for one in requests if one not in self.handed_out]
                admit(requests)

            self.order.admit = note

    def submit(self) -> None:
        defer = self.draw(st.sampled_from([None, self.deferred.append]))
        asked = self.harness.try_submit(1, defer)
        if asked is not None:
            self.asked.append(asked)

    def check(self) -> None:
        heard = dict(self.asked)
        if self.order is not None:
            finals = [heard[request].finals for request in self.handed_out]
            assert finals == sorted(finals, reverse=True), "one overtook another"
            open_ones = [request for request in self.handed_out if not heard[request].finals]
            assert all(not heard[request].responses for request in open_ones[1:])
            assert self.order.waiting() == len(open_ones)
        for one in self.harness.fakes.values():
            assert not one.unflushed


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_each_request_ends_once_and_in_its_turn_whatever_happens(data: st.DataObject) -> None:
    run = OrderedRun(data)
    try:
        for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=40)):
            step(run)
            run.check()
        run.end()
        run.check()
    finally:
        run.harness.stop()


def test_many_threads_submit_cancel_and_are_answered_in_order(make: Any) -> None:
    line = Line()
    limited = policy(timeout_ms=HOUR_MS, max_queue_size=50)
    config = configuration(max_batch_size=4, preserve_ordering=True, default_queue_policy=limited)
    harness = make(count=3, scheduler=choose_scheduler(config))
    taken: list[str] = []
    order = harness.pool._scheduler._order
    admit = order.admit

    def note(requests: Any) -> None:
        taken.extend(request.id for request in requests)
        admit(requests)

    order.admit = note
    accepted: list[str] = []
    together = threading.Barrier(4)

    def work(worker: int) -> None:
        together.wait()
        for number in range(150):
            request = line.request(f"{worker}.{number}")
            try:
                harness.pool.submit(request)
            except UnavailableError:
                continue
            accepted.append(request.id)
            if number % 7 == 0:
                request.cancel()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert harness.pool.drain(monotonic_ns() + PATIENCE_S * 10**9)
    left = line.wait(len(accepted))
    assert sorted(left) == sorted(accepted)
    ran = set(taken)
    assert [name for name in left if name in ran] == taken
    assert order.waiting() == 0
