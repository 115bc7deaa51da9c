"""The pool of instances that take requests: whatever happens in whatever order, each request ends once."""

import threading
import time
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.forwarding import FakeRequests, Forwarding, Heard

from atoll.errors import UnavailableError
from atoll.execution.request_instance import RequestModelInstance
from atoll.request import InferenceRequest

HOUR_US = 3_600_000_000
PATIENCE_S = 60.0


@pytest.fixture
def make() -> Iterator[Callable[..., Forwarding]]:
    made: list[Forwarding] = []

    def build(*arguments: Any, **options: Any) -> Forwarding:
        made.append(Forwarding(*arguments, **options))
        return made[-1]

    yield build
    for one in made:
        one.stop()


def only(harness: Forwarding) -> FakeRequests:
    [fake] = harness.fakes.values()
    return fake


class Run:
    """A pool to which drawn things happen."""

    def __init__(self, data: st.DataObject):
        draw = self.draw = data.draw
        self.harness = Forwarding(
            draw(st.integers(1, 3)),
            concurrency=draw(st.integers(1, 3)),
            depth=draw(st.integers(0, 2)),
            delay_us=draw(st.sampled_from([0, HOUR_US])),
        )
        for instance in self.harness.fakes:
            instance.pace.score = draw(st.sampled_from([0, 64]))
        self.asked: list[tuple[InferenceRequest, Heard]] = []
        self.deferred: list[Callable[[], None]] = []
        self.stale: list[tuple[FakeRequests, InferenceRequest]] = []
        self.stopped = False
        self.in_pool = list(self.harness.fakes)

    def living(self) -> list[FakeRequests]:
        return [one for one in self.harness.fakes.values() if one.up and not one.closed]

    def busy(self) -> list[FakeRequests]:
        return [one for one in self.living() if one.waiting]

    def submit(self) -> None:
        defer = self.draw(st.sampled_from([None, self.deferred.append]))
        asked = self.harness.try_submit(self.draw(st.integers(1, 4)), defer)
        if asked is not None:
            self.asked.append(asked)

    def run_deferred(self) -> None:
        if self.deferred:
            self.deferred.pop(0)()

    def release(self) -> None:
        running = [one for one in self.living() if one.batches]
        if running:
            fake = self.draw(st.sampled_from(running))
            fake.release(self.draw(st.sampled_from(list(fake.batches))))

    def answer(self) -> None:
        if self.busy():
            fake = self.draw(st.sampled_from(self.busy()))
            request = self.draw(st.sampled_from(fake.waiting))
            how = self.draw(st.sampled_from([fake.respond, fake.finish, fake.reschedule]))
            how(request)

    def answer_in_part(self) -> None:
        if self.busy():
            fake = self.draw(st.sampled_from(self.busy()))
            fake.respond(self.draw(st.sampled_from(fake.waiting)), final=False)

    def die(self) -> None:
        alive = self.living()
        if alive:
            fake = self.draw(st.sampled_from(alive))
            self.stale += [(fake, request) for request in fake.waiting]
            fake.die()
            if self.draw(st.booleans()):
                fake.die("again")

    def come_back(self) -> None:
        dead = [one for one in self.harness.fakes.values() if not (one.up or one.closed)]
        if dead:
            self.draw(st.sampled_from(dead)).come_back()

    def speak_too_late(self) -> None:
        """What a process said of requests that were failed with it."""
        if self.stale:
            fake, request = self.stale.pop()
            fake.answers.respond(request, [], final=True)
            fake.answers.finish(request)
            fake.answers.reschedule(request)
            fake.answers.released(10_000, 5)

    def cancel(self) -> None:
        if self.asked:
            self.draw(st.sampled_from(self.asked))[0].cancel()

    def change_instances(self) -> None:
        added = [self.harness.instance() for _ in range(self.draw(st.integers(0, 2)))]
        most = len(self.in_pool) + len(added) - 1
        gone = self.in_pool[: self.draw(st.integers(0, min(len(self.in_pool), most)))]
        if self.harness.pool.change_instances(added, gone):
            self.in_pool = [one for one in self.in_pool if one not in gone] + added
        else:
            for one in added:
                one.close()

    def refuse(self) -> None:
        if self.draw(st.integers(0, 3)) == 0:
            self.harness.pool.refuse()

    def stop(self) -> None:
        if self.draw(st.integers(0, 5)) == 0 and not self.stopped:
            self.stopped = True
            assert self.harness.stop()

    def check(self) -> None:
        pool = self.harness.pool
        unanswered = sum(not heard.finals for _, heard in self.asked)
        assert pool.in_flight() == unanswered
        for one in self.harness.fakes.values():
            assert not one.unflushed
            assert one.closed <= 1

    def end(self) -> None:
        """All come back and answer, and then the pool stops; or it stops at once."""
        if not self.stopped and self.draw(st.booleans()):
            if self.draw(st.booleans()):
                for one in self.deferred:
                    one()  # else their loop has died
            self.harness.pool.refuse()
            for _ in range(1000):
                dead = [one for one in self.harness.fakes.values() if not (one.up or one.closed)]
                for fake in dead:
                    fake.come_back()
                for fake in self.busy():
                    fake.respond(fake.waiting[0])
                for fake in self.living():
                    if fake.batches:
                        fake.release(next(iter(fake.batches)))
                if not self.harness.pool.in_flight():
                    break
            assert self.harness.pool.drain(monotonic_ns())
        if not self.stopped:
            assert self.harness.stop()
        for _, heard in self.asked:
            assert heard.finals == 1
        assert self.harness.pool.in_flight() == 0
        assert self.harness.pool.pending() == 0
        assert all(one.closed == 1 for one in self.harness.fakes.values())
        assert self.harness.try_submit() is None


STEPS = (
    Run.submit, Run.submit, Run.submit, Run.run_deferred, Run.release, Run.release, Run.answer, Run.answer, Run.answer,
    Run.answer_in_part, Run.die, Run.come_back, Run.come_back, Run.speak_too_late, Run.cancel, Run.change_instances,
    Run.refuse, Run.stop,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_each_request_ends_once_whatever_happens(data: st.DataObject) -> None:
    run = Run(data)
    try:
        for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=40)):
            step(run)
            run.check()
        run.end()
    finally:
        run.harness.stop()


def test_many_threads_at_once(make: Callable[..., Forwarding]) -> None:
    """Submitters, answerers, one who cancels and one who kills."""
    harness = make(3, concurrency=2)
    asked: list[tuple[InferenceRequest, Heard]] = []
    done = threading.Event()
    failures: list[BaseException] = []
    turn = threading.RLock()  # for all of them: what one is told may make the pool begin a batch on another
    locks = dict.fromkeys(harness.fakes.values(), turn)
    for fake, lock in locks.items():  # as a real one's end and its answers do not mix

        def begin(batch: int, requests: Any, fake: Any = fake, lock: Any = lock) -> None:
            with lock:
                if not fake.up:
                    fake.answers.released(batch, 0)
                    for request in requests:
                        fake.answers.respond(request, [], error=UnavailableError("it is down"))
                    return
                fake.batches[batch] = list(requests)
                fake.waiting += requests

        fake.begin = begin  # type: ignore[method-assign]

    def guarded(function: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not done.is_set():
                    function()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def submit() -> None:
        if harness.pool.in_flight() > 100:
            time.sleep(0.0005)
        one = harness.try_submit()
        if one is not None:
            asked.append(one)

    def answer() -> None:
        for fake, lock in locks.items():
            with lock:
                if not fake.up:
                    continue
                for request in list(fake.waiting[:3]):
                    (fake.reschedule if id(request) % 7 == 0 and not done.is_set() else fake.respond)(request)
                if fake.batches:
                    fake.release(next(iter(fake.batches)))

    def kill() -> None:
        for fake, lock in locks.items():
            with lock:
                fake.die()
            time.sleep(0.002)
            with lock:
                fake.come_back()

    def cancel() -> None:
        for request, _ in asked[-20:]:
            request.cancel()
        time.sleep(0.001)

    threads = [guarded(one) for one in (submit, submit, answer, kill, cancel)]
    deadline = time.monotonic() + PATIENCE_S
    while len(asked) < 1500 and time.monotonic() < deadline and not failures:
        time.sleep(0.005)
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not failures
    harness.pool.refuse()
    while harness.pool.in_flight() and time.monotonic() < deadline:
        answer()
        harness.pool.advance()
    assert harness.pool.in_flight() == 0
    assert all(heard.finals == 1 for _, heard in asked)


# ---- single things


def test_what_is_queued_outlives_the_first_restart_and_not_a_failed_one(make: Callable[..., Forwarding]) -> None:
    harness = make()
    fake = only(harness)
    _, first = harness.submit(4)
    _, second = harness.submit(4)
    fake.die("it died")
    assert first.error == "it died"
    assert not second.finals
    with pytest.raises(UnavailableError, match="it died"):
        harness.submit()
    fake.die("it cannot be started")
    assert second.error == "it cannot be started"
    fake.come_back()
    request, third = harness.submit()
    fake.respond(request)
    assert third.finals


def test_who_is_rescheduled_into_a_full_queue_is_told(make: Callable[..., Forwarding]) -> None:
    harness = make()
    fake = only(harness)
    request, heard = harness.submit()

    def full(request: InferenceRequest, now_ns: int) -> None:
        raise UnavailableError("the queue is full")

    harness.pool._scheduler.enqueue = full  # type: ignore[method-assign]
    fake.reschedule(request)
    assert heard.error == "the queue is full"
    assert harness.pool.in_flight() == 0


def test_an_instance_that_leaves_is_closed_when_its_last_request_was_withdrawn(make: Callable[..., Forwarding]) -> None:
    harness = make()
    [leaving] = harness.fakes
    fake = harness.fakes[leaving]
    running, _ = harness.submit(4)
    fake.depth = fake.allowed = 5
    leaving.pace.score = 64
    cancelled, heard = harness.submit(4)  # which it has begun, too
    cancelled.cancel()
    harness.pool.change_instances([harness.instance()], [leaving])
    for request in (running, cancelled):
        fake.respond(request)
    assert leaving not in harness.pool.instances()
    for batch in list(fake.batches):
        assert not fake.closed
        fake.release(batch)
    deadline = time.monotonic() + PATIENCE_S
    while not fake.closed and time.monotonic() < deadline:
        time.sleep(0.001)
    assert fake.closed == 1
    assert heard.finals == 1


def test_a_batch_of_none_but_withdrawn_ones_takes_no_room(make: Callable[..., Forwarding]) -> None:
    harness = make()
    fake = only(harness)
    first, _ = harness.submit(4)
    second, heard = harness.submit(4)
    second.cancel()
    fake.respond(first)
    fake.release(next(iter(fake.batches)))
    assert "cancelled" in heard.error
    third, _ = harness.submit(4)
    assert fake.waiting == [third]
    fake.respond(third)


def test_company_is_waited_for_and_the_end_of_waiting_is_noticed(make: Callable[..., Forwarding]) -> None:
    harness = make(delay_us=20_000)
    fake = only(harness)
    harness.submit()
    harness.submit()
    deadline = time.monotonic() + PATIENCE_S
    while len(fake.waiting) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(fake.batches) == 1
    for request in list(fake.waiting):
        fake.respond(request)


def test_batches_overlap_where_execution_does_though_company_is_waited_for(make: Callable[..., Forwarding]) -> None:
    harness = make(delay_us=HOUR_US, concurrency=3, depth=2)
    fake = only(harness)
    next(iter(harness.fakes)).pace.score = 64
    for _ in range(5):
        harness.submit(4)
    assert len(fake.batches) == 3  # and nothing beforehand: the queue is where company comes


def test_what_a_dead_loop_has_promised_goes_out_with_the_next(make: Callable[..., Forwarding]) -> None:
    harness = make()
    fake = only(harness)
    running, _ = harness.submit()
    promised: list[Callable[[], None]] = []
    harness.submit(4, promised.append)
    harness.submit(4, promised.append)
    assert len(promised) == 1
    fake.respond(running)
    fake.release(next(iter(fake.batches)))
    assert len(fake.waiting) == 1
    for _ in range(2):
        fake.respond(fake.waiting[0])
        fake.release(next(iter(fake.batches)))
    assert harness.pool.in_flight() == 0


def test_an_instance_that_cannot_be_closed_is_told_of(make: Callable[..., Forwarding]) -> None:
    harness = make(2)
    first, second = harness.fakes.values()
    first.clean = False
    second.close = lambda deadline_ns: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    assert harness.stop() is False


def test_instances_are_those_that_stay(make: Callable[..., Forwarding]) -> None:
    harness = make(2)
    first, second = harness.fakes
    third: RequestModelInstance = harness.instance()
    assert harness.pool.change_instances([third], [first])
    assert harness.pool.instances() == [second, third]
    harness.pool.refuse()
    assert not harness.pool.change_instances([], [second])
