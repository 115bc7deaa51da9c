"""Priorities, timeouts and limits of queues: what the real server (2.51) was seen to do, case by case."""

import weakref
from typing import Any

import pytest
from tests.unit.scheduling.queued import DELAY, MS, Turned, configuration, policy, queued

from atoll.errors import OverloadedError, UnavailableError
from atoll.scheduling.direct import DirectScheduler
from atoll.scheduling.dynamic_batcher import DynamicBatcher
from atoll.scheduling.queueing.batcher import QueueingBatcher
from atoll.scheduling.scheduler import Traits, WaitUntil

CENTURY_MS = 100 * 365 * 24 * 3600 * 1000
FULL = "Exceeds maximum queue size"


def turned(**config: Any) -> Turned:
    return Turned(configuration(**config))


class TestTheSimplestSchedulerThatDoes:
    def test_plain_batching_pays_for_nothing_else(self) -> None:
        assert type(turned().scheduler) is DynamicBatcher
        assert type(turned(delay_ms=1, preferred_batch_size=(4,)).scheduler) is DynamicBatcher
        assert type(turned(default_queue_policy=policy()).scheduler) is DynamicBatcher
        without_effect = policy(allow_timeout_override=True, timeout_action=DELAY)
        assert type(turned(default_queue_policy=without_effect).scheduler) is DynamicBatcher
        assert type(turned(priority_levels=1, default_priority_level=1).scheduler) is DynamicBatcher
        assert type(turned(max_batch_size=0, delay_ms=1).scheduler) is DirectScheduler

    def test_without_levels_their_policies_count_for_nothing(self) -> None:
        ignored = {7: policy(max_queue_size=1)}
        assert type(turned(default_priority_level=5, priority_queue_policy=ignored).scheduler) is DynamicBatcher

    def test_what_is_asked_of_it_says_what_the_pool_has_to_do(self) -> None:
        assert turned(preserve_ordering=True).scheduler.traits == Traits()
        assert turned(priority_levels=2, default_priority_level=1, delay_ms=5).scheduler.traits == Traits(waits=True)
        assert turned(default_queue_policy=policy(timeout_ms=5)).scheduler.traits == Traits(expires=True)
        late_last = policy(timeout_ms=5, timeout_action=DELAY)
        assert turned(default_queue_policy=late_last).scheduler.traits == Traits()
        of_one_level = turned(
            priority_levels=2, default_priority_level=1, priority_queue_policy={2: policy(timeout_ms=5)}
        )
        assert of_one_level.scheduler.traits == Traits(expires=True)

    def test_nothing_goes_ahead_that_would_escape_the_rules_of_its_queue(self) -> None:
        for config, prompt in (
            ({"default_queue_policy": policy(max_queue_size=1)}, True),
            ({"preserve_ordering": True}, False),
        ):
            scheduler = turned(**config).scheduler
            assert isinstance(scheduler, QueueingBatcher)
            assert scheduler.prompt is prompt


class TestPriorities:
    def test_the_first_level_runs_first_and_a_batch_takes_in_the_next_ones(self) -> None:
        one = turned(priority_levels=3, default_priority_level=2)
        asked = [3, 0, 1, 2, 4, 99, 1, 3]
        one.enqueue(*(queued(f"p{level}_{n}", size=4, priority=level) for n, level in enumerate(asked)))
        # a priority of 0, and one beyond the levels, is the default
        assert one.all_names() == [["p1_2", "p1_6"], ["p0_1", "p2_3"], ["p4_4", "p99_5"], ["p3_0", "p3_7"]]

    def test_a_level_is_left_for_the_next_only_when_it_is_empty(self) -> None:
        one = turned(priority_levels=2, default_priority_level=2)
        for n, (level, width) in enumerate([(2, 1), (1, 2), (2, 2), (1, 1), (1, 2), (2, 1)]):
            one.enqueue(queued(f"p{level}w{width}_{n}", priority=level, key=width))
        expected = ["p1w2_1", "p1w1_3", "p1w2_4", "p2w1_0", "p2w2_2", "p2w1_5"]
        assert one.all_names() == [[name] for name in expected]

    def test_the_delay_is_that_of_the_oldest_whatever_its_level(self) -> None:
        one = turned(priority_levels=2, default_priority_level=2, delay_ms=300)
        one.enqueue(queued("low"))
        one.ms += 250
        one.enqueue(queued("high", priority=1))
        assert one.batch() == WaitUntil(1300 * MS)
        one.ms += 50
        assert one.names() == ["high", "low"]

    def test_one_that_would_not_run_now_ends_no_wait(self) -> None:
        one = turned(max_batch_size=2, priority_levels=2, default_priority_level=2, delay_ms=300)
        one.enqueue(queued("low", size=2))
        one.ms += 299
        one.enqueue(queued("high", priority=1))
        assert one.names() == ["high"]  # the next one does not fit: there is nothing to wait for
        assert one.names() == ["low"]

    def test_levels_by_the_million_cost_as_much_as_are_in_use(self) -> None:
        one = turned(priority_levels=2**64 - 1, default_priority_level=2**64 - 1, max_batch_size=1)
        one.enqueue(queued("default"), *(queued(str(n), priority=n) for n in range(1, 1001)))
        assert one.all_names() == [*([str(n)] for n in range(1, 1001)), ["default"]]
        queue: Any = one.scheduler
        assert len(queue._queue._levels) <= 64


class TestTimeouts:
    def test_one_that_waited_too_long_is_refused(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=100))
        one.enqueue(queued("a"), queued("b", timeout_ms=1), queued("c", timeout_ms=2**60))
        assert one.expiry_ms == 1100
        one.ms = 1099
        assert one.expired() == []
        one.ms = 1100
        assert one.expired() == [(name, "Request timeout expired") for name in "abc"]  # not allowed to override
        assert one.batch() is None
        assert one.scheduler.pending() == 0
        assert one.expiry_ms == 0

    def test_its_code_is_unavailable(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=1))
        one.enqueue(queued("a"))
        [refusal] = one.scheduler.expire(one.now_ns + MS)
        assert type(refusal.error) is UnavailableError

    def test_an_override_only_shortens(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=200, allow_timeout_override=True))
        one.enqueue(queued("none"), queued("short", timeout_ms=50), queued("long", timeout_ms=5000))
        one.ms += 50
        assert one.expired() == [("short", "Request timeout expired")]
        one.ms += 149
        assert one.expired() == []
        one.ms += 1
        assert [name for name, _ in one.expired()] == ["none", "long"]

    def test_an_override_of_no_timeout_has_no_effect(self) -> None:
        one = turned(default_queue_policy=policy(allow_timeout_override=True))
        one.enqueue(queued("short", timeout_ms=50))
        one.ms += 10**9
        assert one.expired() == []
        assert one.names() == ["short"]

    def test_a_free_instance_gets_none_that_is_late(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=100))
        one.enqueue(queued("late"))
        one.ms += 60
        one.enqueue(queued("in time"))
        one.ms += 60
        assert one.names() == ["in time"]
        assert one.expiry_ms <= one.ms  # it is not forgotten
        assert one.expired() == [("late", "Request timeout expired")]

    def test_the_delay_of_a_batch_does_not_prolong_it(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=50), delay_ms=200)
        one.enqueue(queued("x"), queued("y"))
        assert one.batch() == WaitUntil(1200 * MS)
        one.ms += 50
        assert [name for name, _ in one.expired()] == ["x", "y"]

    def test_who_asks_for_the_moment_that_he_was_told_makes_nobody_late(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=50), delay_ms=200)
        one.enqueue(queued("x"), queued("y"))
        waits = one.batch()
        assert isinstance(waits, WaitUntil)
        batch = one.scheduler.next_batch(waits.ns, 0)
        assert isinstance(batch, list)
        assert [request.id for request in batch] == ["x", "y"]

    def test_late_ones_go_behind_the_others_of_their_level(self) -> None:
        late_last = policy(timeout_ms=100, timeout_action=DELAY)
        one = turned(max_batch_size=1, default_queue_policy=late_last)
        one.enqueue(queued("late0"), queued("late1"))
        one.ms += 100
        one.enqueue(queued("new0"), queued("new1"))
        assert one.expiry_ms == 0
        assert one.scheduler.pending() == 4
        assert one.all_names() == [["new0"], ["new1"], ["late0"], ["late1"]]

    def test_and_stay_behind_those_that_come_later_still(self) -> None:
        one = turned(max_batch_size=1, default_queue_policy=policy(timeout_ms=100, timeout_action=DELAY))
        one.enqueue(queued("late"))
        one.ms += 100
        one.enqueue(queued("new0"), queued("new1"))
        assert one.names() == ["new0"]
        one.enqueue(queued("new2"))
        assert one.all_names() == [["new1"], ["new2"], ["late"]]

    def test_but_before_those_of_the_next_level(self) -> None:
        late_last = policy(timeout_ms=100, timeout_action=DELAY)
        one = turned(
            max_batch_size=1, priority_levels=2, default_priority_level=2, priority_queue_policy={1: late_last}
        )
        one.enqueue(queued("late", priority=1), queued("low"))
        one.ms += 100
        one.enqueue(queued("new", priority=1))
        assert one.all_names() == [["new"], ["late"], ["low"]]

    @pytest.mark.parametrize("key", ["default_timeout_microseconds", "max_queue_delay_microseconds"])
    def test_a_time_that_nobody_lives_to_see(self, key: str) -> None:
        longest = 2**64 - 1
        if key == "max_queue_delay_microseconds":
            one = turned(max_queue_delay_microseconds=longest)
            one.enqueue(queued())
            waits = one.batch()
            assert isinstance(waits, WaitUntil)
            found_ms = waits.ns // MS
        else:
            one = turned(default_queue_policy=policy(default_timeout_microseconds=longest))
            one.enqueue(queued())
            found_ms = one.expiry_ms
        assert found_ms == 1000 + CENTURY_MS

    def test_a_request_that_runs_once_more_has_its_time_anew(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=100, max_queue_size=1))
        one.enqueue(again := queued("again"))
        one.ms += 90
        assert one.names() == ["again"]
        one.enqueue(queued("other"))
        one.scheduler.requeue(again, one.now_ns)  # it is not refused for its level's size
        one.ms += 90
        assert one.expired() == []
        assert one.names() == ["other", "again"]

    def test_moments_that_were_told_stand(self) -> None:
        """Whose alarm is set need not set it anew for every request."""
        one = turned(default_queue_policy=policy(timeout_ms=100))
        one.enqueue(queued("first"))
        one.names()
        one.ms += 10
        one.enqueue(queued("second"))
        assert one.expiry_ms == 1100
        one.ms = 1100
        assert one.expired() == []
        assert one.expiry_ms == 1110


class TestFullQueues:
    def test_one_too_many_is_refused_at_the_door(self) -> None:
        one = turned(default_queue_policy=policy(max_queue_size=2))
        one.enqueue(queued("r0"), queued("r1", size=8))  # requests count, not their items
        assert one.refused(queued("r2")) == f"[request id: r2] {FULL}"
        assert one.refused(queued()) == f"[request id: <id_unknown>] {FULL}"
        assert one.names() == ["r0"]
        one.enqueue(queued("r3"))

    def test_the_error_says_that_it_may_be_sent_again(self) -> None:
        one = turned(default_queue_policy=policy(max_queue_size=1))
        one.enqueue(queued())
        with pytest.raises(OverloadedError, match=FULL):
            one.enqueue(queued())

    def test_each_level_has_its_own_limit(self) -> None:
        one = turned(
            default_queue_policy=policy(max_queue_size=1),
            priority_levels=2,
            default_priority_level=1,
            priority_queue_policy={2: policy(timeout_action=DELAY, timeout_ms=100)},
        )
        one.enqueue(queued("a", priority=2), queued("b", priority=2), queued("c", priority=1))
        assert one.refused(queued("d", priority=1)) == f"[request id: d] {FULL}"
        assert one.refused(queued("e")) == f"[request id: e] {FULL}"
        one.enqueue(queued("f", priority=2))

    def test_those_that_are_delayed_count(self) -> None:
        one = turned(default_queue_policy=policy(timeout_action=DELAY, timeout_ms=100, max_queue_size=2))
        one.enqueue(queued("late0"), queued("late1"))
        one.ms += 200
        assert FULL in one.refused(queued("new"))

    def test_those_that_are_late_make_room(self) -> None:
        one = turned(default_queue_policy=policy(timeout_ms=100, max_queue_size=1))
        one.enqueue(queued("late"))
        one.ms += 100
        one.enqueue(queued("new"))
        assert one.names() == ["new"]
        assert [name for name, _ in one.expired()] == ["late"]

    def test_a_model_without_a_batch_dimension_has_its_queue_too(self) -> None:
        one = turned(max_batch_size=0, default_queue_policy=policy(timeout_ms=100, max_queue_size=2))
        one.enqueue(queued("r0"), queued("r1"))
        assert FULL in one.refused(queued("r2"))
        assert one.names() == ["r0"]
        one.ms += 100
        assert [name for name, _ in one.expired()] == ["r1"]


class TestLeaving:
    config = configuration(max_batch_size=1, default_queue_policy=policy(timeout_ms=100))

    def test_one_that_is_withdrawn_is_gone(self) -> None:
        one = Turned(self.config)
        one.enqueue(first := queued("first"), queued("second"))
        assert one.scheduler.withdraw(first)
        assert not one.scheduler.withdraw(first)
        assert one.all_names() == [["second"]]
        one.ms += 200
        assert one.expired() == []

    def test_one_that_was_refused_cannot_be_withdrawn(self) -> None:
        one = Turned(self.config)
        one.enqueue(late := queued("late"))
        one.ms += 100
        assert one.batch() is None
        assert not one.scheduler.withdraw(late)
        assert [name for name, _ in one.expired()] == ["late"]

    def test_all_go_those_that_were_refused_too(self) -> None:
        one = Turned(self.config)
        one.enqueue(queued("late"))
        one.ms += 100
        one.enqueue(queued("new"), queued("newer"))
        assert one.names() == ["new"]
        assert [request.id for request in one.scheduler.withdraw_all()] == ["late", "newer"]
        assert one.expired() == []
        assert (one.batch(), one.scheduler.pending(), one.scheduler.head()) == (None, 0, None)


@pytest.mark.parametrize("action", [policy().timeout_action, DELAY])
def test_requests_that_have_left_are_not_kept_until_they_would_have_been_late(action: Any) -> None:
    one = turned(default_queue_policy=policy(timeout_ms=CENTURY_MS, timeout_action=action))
    requests = [queued(str(number)) for number in range(20)]
    senders = [weakref.ref(request.sender) for request in requests]
    one.enqueue(*requests)
    for request in requests[:10]:
        assert one.scheduler.withdraw(request)
    assert len(one.names()) == 8
    del request, requests
    assert sum(sender() is not None for sender in senders) == one.scheduler.pending() == 2
