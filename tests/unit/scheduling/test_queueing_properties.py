"""Whatever is asked of a queue, in whatever order: nobody is lost, nobody comes out twice, no rule is broken."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scheduling.queued import MS, Turned, configuration, policy, queued

from atoll.config.model_config import ModelQueuePolicy
from atoll.errors import OverloadedError
from atoll.scheduling.queueing.batcher import QueueingBatcher
from atoll.scheduling.queueing.due_times import DueTimes
from atoll.scheduling.scheduler import WaitUntil

MAX_BATCH = 4
policies = st.builds(
    policy,
    timeout_action=st.sampled_from(list(ModelQueuePolicy.TimeoutAction)),
    timeout_ms=st.sampled_from([0, 5, 20, 100]),
    allow_timeout_override=st.booleans(),
    max_queue_size=st.sampled_from([0, 0, 1, 3]),
)


class Run:
    """A scheduler to which drawn things happen, and what a plain list says of them."""

    def __init__(self, data: st.DataObject):
        draw = self.draw = data.draw
        self.levels = draw(st.integers(0, 3))
        self.default = draw(st.integers(1, self.levels)) if self.levels else 0
        own = draw(st.dictionaries(st.integers(1, max(self.levels, 1)), policies, max_size=2))
        self.policies = own if self.levels else {}
        self.default_policy = draw(policies)
        self.delay_ms = draw(st.sampled_from([0, 30]))
        self.turned = Turned(
            configuration(
                max_batch_size=MAX_BATCH,
                preserve_ordering=self.levels < 2,  # so that it is never the plain batcher
                priority_levels=self.levels,
                default_priority_level=self.default,
                default_queue_policy=self.default_policy,
                priority_queue_policy=self.policies,
                delay_ms=self.delay_ms,
                preferred_batch_size=draw(st.sampled_from([(), (2,), (3, 4)])),
            )
        )
        assert isinstance(self.turned.scheduler, QueueingBatcher)
        self.waiting: list[Any] = []  # in the order of arrival
        self.due_ms: dict[Any, int] = {}  # when each is late; 0: never
        self.running: list[Any] = []
        self.ended: list[Any] = []
        self.count = 0

    def policy_of(self, request: Any) -> ModelQueuePolicy:
        return self.policies.get(self.level(request), self.default_policy)

    def level(self, request: Any) -> int:
        return request.priority if 1 <= request.priority <= self.levels else self.default

    def rejects(self, request: Any) -> bool:
        return self.policy_of(request).timeout_action is ModelQueuePolicy.TimeoutAction.REJECT

    def is_late(self, request: Any) -> bool:
        return 0 < self.due_ms[request] <= self.turned.ms

    def took(self, request: Any) -> None:
        its = self.policy_of(request)
        timeout_us = its.default_timeout_microseconds
        if its.allow_timeout_override and 0 < request.timeout_us < timeout_us:
            timeout_us = request.timeout_us
        self.due_ms[request] = self.turned.ms + timeout_us // 1000 if timeout_us else 0
        self.waiting.append(request)

    # ---- what happens

    def enqueue(self) -> None:
        self.count += 1
        request = queued(
            str(self.count),
            size=self.draw(st.integers(1, MAX_BATCH)),
            key=self.draw(st.sampled_from("aab")),
            priority=self.draw(st.integers(0, 4)),
            timeout_ms=self.draw(st.sampled_from([0, 1, 10, 10**6])),
        )
        size = self.policy_of(request).max_queue_size
        same = [one for one in self.waiting if self.level(one) == self.level(request)]
        alive = [one for one in same if not (self.rejects(one) and self.is_late(one))]
        try:
            self.turned.enqueue(request)
        except OverloadedError:
            assert size, "it was refused without a limit"
            assert len(alive) >= size
            return
        assert not size or len(alive) < size or len(same) < size
        self.took(request)

    def pass_time(self) -> None:
        self.turned.ms += self.draw(st.sampled_from([1, 4, 15, 40, 200]))

    def next_batch(self) -> None:
        late = [one for one in self.waiting if self.rejects(one) and self.is_late(one)]
        batch = self.turned.batch()
        if batch is None:
            assert len(late) == len(self.waiting), "it forgets somebody"
        elif isinstance(batch, WaitUntil):
            assert self.turned.now_ns < batch.ns <= self.turned.now_ns + self.delay_ms * MS
        else:
            self.check_batch(batch)
            for request in batch:
                self.waiting.remove(request)
            self.running += batch

    def check_batch(self, batch: Sequence[Any]) -> None:
        assert batch
        assert sum(one.batch_size for one in batch) <= MAX_BATCH
        assert len({one.batch_key for one in batch}) == 1
        assert not any(self.rejects(one) and self.is_late(one) for one in batch)
        expected = sorted(
            (one for one in self.waiting if not (self.rejects(one) and self.is_late(one))), key=self.position
        )
        assert list(batch) == expected[: len(batch)]

    def position(self, request: Any) -> tuple[int, int, int, int]:
        """Levels, then those in time, then the late in the order in which they came to be it."""
        if self.is_late(request):
            return self.level(request), 1, self.due_ms[request], self.waiting.index(request)
        return self.level(request), 0, 0, self.waiting.index(request)

    def expire(self) -> None:
        for request, error in self.turned.scheduler.expire(self.turned.now_ns):
            assert str(error) == "Request timeout expired"
            assert self.rejects(request)
            assert self.is_late(request)
            self.waiting.remove(request)
            self.ended.append(request)
        assert not any(self.rejects(one) and self.is_late(one) for one in self.waiting)

    def withdraw(self) -> None:
        if self.waiting:
            request = self.draw(st.sampled_from(self.waiting))
            if self.turned.scheduler.withdraw(request):
                self.waiting.remove(request)
                self.ended.append(request)
            else:
                assert self.rejects(request)
                assert self.is_late(request), "it cannot be found"

    def end_or_repeat(self) -> None:
        if self.running:
            request = self.running.pop(self.draw(st.integers(0, len(self.running) - 1)))
            if self.draw(st.booleans()):
                self.turned.scheduler.requeue(request, self.turned.now_ns)
                self.took(request)
            else:
                assert not self.turned.scheduler.withdraw(request)
                self.ended.append(request)

    # ---- what is always true

    def check(self) -> None:
        scheduler = self.turned.scheduler
        late = [one for one in self.waiting if self.rejects(one) and self.is_late(one)]
        assert len(self.waiting) - len(late) <= scheduler.pending() <= len(self.waiting)
        assert scheduler.wants(0) is (scheduler.pending() > 0)
        if late:
            assert 0 < scheduler.next_expiry_ns() <= self.turned.now_ns, "a deadline is passed over in silence"
        dues = [self.due_ms[one] for one in self.waiting if self.rejects(one) and self.due_ms[one]]
        if dues:
            assert 0 < scheduler.next_expiry_ns() <= min(dues) * MS
        head = scheduler.head()
        assert head is None or head in self.waiting

    def end(self) -> None:
        scheduler = self.turned.scheduler
        if self.draw(st.booleans()):
            withdrawn = scheduler.withdraw_all()
            assert sorted(one.id for one in withdrawn) == sorted(one.id for one in self.waiting)
        else:
            for _ in range(2 * self.count + 1):
                self.expire()
                self.next_batch()
                self.turned.ms += self.delay_ms
            self.expire()
            assert not self.waiting, "somebody waits for ever"
        assert (scheduler.pending(), scheduler.head(), scheduler.wants(0)) == (0, None, False)
        assert self.turned.batch() is None
        assert scheduler.expire(self.turned.now_ns + 10**18) == []


STEPS = (
    Run.enqueue, Run.enqueue, Run.enqueue, Run.next_batch, Run.pass_time, Run.expire, Run.withdraw, Run.end_or_repeat,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_no_rule_is_broken(data: st.DataObject) -> None:
    run = Run(data)
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=40)):
        step(run)
        run.check()
    run.end()


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=300), st.integers(0, 25))
def test_due_times_come_in_order_and_the_dead_are_not_kept(added: list[tuple[int, bool]], now: int) -> None:
    alive: set[int] = set()
    dues: DueTimes[int] = DueTimes(alive.__contains__)
    for number, (due_ns, dies) in enumerate(added):
        alive.add(number)
        dues.add(due_ns, number, len(alive))
        if dies:
            alive.remove(number)
        assert len(dues) <= 2 * (len(alive) + 1) + 64
    living = sorted((due_ns, number) for number, (due_ns, dies) in enumerate(added) if not dies)
    assert dues.next_ns() == (living[0][0] if living else 0)
    assert list(dues.due(now)) == [number for due_ns, number in living if due_ns <= now]
    left = [due_ns for due_ns, _ in living if due_ns > now]
    assert dues.next_ns() == (left[0] if left else 0)


def test_many_short_lived_requests_with_long_timeouts_leave_nothing() -> None:
    one = Turned(configuration(default_queue_policy=policy(timeout_ms=3_600_000)))
    for number in range(5000):
        one.enqueue(queued(str(number)))
        assert one.names() == [str(number)]
    queue: Any = one.scheduler
    assert len(queue._queue._to_refuse) <= 66
