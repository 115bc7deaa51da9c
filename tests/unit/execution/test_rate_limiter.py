"""The rate limiter under both pools: who executes, who waits, who is told, and that all is given back."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from tests.unit.execution.forwarding import Forwarding
from tests.unit.execution.waiting import wait_until

from atoll.config.model_config import ModelRateLimiter
from atoll.errors import CancelledError, InvalidArgumentError
from atoll.execution.clock import Clock
from atoll.execution.rate_limiter import InstancePermit, RateLimiter, parse_supplies
from atoll.scheduling.rate_limiting import Supply

PATIENCE_S = 30
HOUR_US = 3600 * 10**6


@pytest.fixture
def limiter() -> Iterator[RateLimiter]:
    clock = Clock()
    yield RateLimiter(clock)
    clock.close()


def needs(name: str = "R", count: int = 1, priority: int = 0, shared: bool = False) -> ModelRateLimiter:
    resource = ModelRateLimiter.Resource(name=name, count=count, global_=shared)
    return ModelRateLimiter(resources=(resource,), priority=priority)


def nothing() -> None:
    """Nobody is to be told."""


class Overlap:
    """Computes as models that would notice if they ran at the same time."""

    def __init__(self) -> None:
        self.inside = threading.Lock()
        self.runs: list[str] = []

    def of(self, name: str) -> Callable[[Any], Any]:
        def compute(inputs: Any) -> Any:
            assert self.inside.acquire(blocking=False), "two execute at the same time"
            self.runs.append(name)
            threading.Event().wait(0.0005)
            self.inside.release()
            return {"OUT": inputs["IN"] * 2}

        return compute


# ---- options


@pytest.mark.parametrize(
    ("options", "supplies"),
    [
        ([], None),
        (["R:2"], [Supply("R", 2)]),
        (["R:2:1"], [Supply("R", 2, 1)]),
        (["R: 3 "], [Supply("R", 3)]),
        (["R:2", "R:5", "R:4:0"], [Supply("R", 2), Supply("R", 4, 0)]),
    ],
)
def test_supplies_are_read(options: list[str], supplies: list[Supply] | None) -> None:
    assert parse_supplies("execution_count", options) == supplies


@pytest.mark.parametrize("option", ["R", "R:x", "R:1:2:3", "R:1:x", "R:1:", "R:99999999999", "R:-1", "R:1.5", ":3", ""])
def test_a_malformed_supply_is_refused(option: str) -> None:
    text = "--rate-limit-resource option format is '<resource_name>:<count>:<device>' or '<resource_name>:<count>'. "
    with pytest.raises(InvalidArgumentError) as caught:
        parse_supplies("off", [option])
    assert str(caught.value).startswith(f"{text}Got {option}")


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="rate_limit is 'on' but must be one of execution_count, off"):
        parse_supplies("on", [])


# ---- permits


def test_a_permit_is_for_one_at_a_time_and_who_waits_is_told(limiter: RateLimiter) -> None:
    one, other = limiter.permit(needs()), limiter.permit(needs())
    told = threading.Event()
    assert one.take(nothing)
    assert one.take(nothing)
    assert not other.take(told.set)
    assert not other.take(told.set)
    one.give_back()
    one.give_back()
    assert told.wait(PATIENCE_S)
    assert other.take(nothing)
    other.close()
    other.close()
    assert not other.take(nothing)
    assert one.take(nothing)


def test_a_permit_that_is_closed_while_it_waits_is_not_told(limiter: RateLimiter) -> None:
    one, other, third = (limiter.permit(needs()) for _ in range(3))
    told = threading.Event()
    assert one.take(nothing)
    assert not other.take(lambda: pytest.fail("it was closed"))
    assert not third.take(told.set)
    other.close()
    one.executed(None)
    assert told.wait(PATIENCE_S)


def test_what_can_never_be_had_is_an_error_of_the_configuration() -> None:
    limited = RateLimiter(Clock(), [Supply("R", 2)])
    with pytest.raises(InvalidArgumentError, match='Resource count for "R" is limited to 2'):
        limited.permit(needs(count=4))
    assert limited.permit(needs(count=2)).take(nothing)


def test_of_resources_with_one_name_the_last_stands(limiter: RateLimiter) -> None:
    """As in the real server."""
    limited = RateLimiter(Clock(), [Supply("R", 4)])
    twice = ModelRateLimiter(
        resources=(ModelRateLimiter.Resource(name="R", count=5), ModelRateLimiter.Resource(name="R", count=4))
    )
    assert limited.permit(twice).take(nothing)


def test_without_a_configuration_nothing_is_needed(limiter: RateLimiter) -> None:
    assert limiter.permit(needs()).take(nothing)
    assert limiter.permit(None).take(nothing)


# ---- pools


def test_two_models_that_share_a_resource_never_overlap(make: Any, limiter: RateLimiter) -> None:
    overlap = Overlap()
    pools = [
        make(count=2, dynamic=False, permits=[limiter.permit(needs()) for _ in range(2)], compute=overlap.of(name))
        for name in "ab"
    ]
    senders = [pools[number % 2].submit(value=number)[1] for number in range(60)]
    answers = [sender.response()["OUT"].tolist()[0][0] for sender in senders]
    assert answers == [2 * number for number in range(60)]
    assert Counter(overlap.runs) == {"a": 30, "b": 30}


@pytest.mark.parametrize(("priorities", "counts"), [((1, 2), (20, 10)), ((0, 1), (15, 15)), ((1, 5), (25, 5))])
def test_turns_follow_the_priorities(
    make: Any, limiter: RateLimiter, priorities: tuple[int, int], counts: tuple[int, int]
) -> None:
    overlap = Overlap()
    gate = limiter.permit(needs())
    assert gate.take(nothing)
    pools = [
        make(dynamic=False, permits=[limiter.permit(needs(priority=priority))], compute=overlap.of(name))
        for name, priority in zip("ab", priorities, strict=True)
    ]
    senders = [pool.submit()[1] for _ in range(40) for pool in pools]
    gate.close()
    for sender in senders:
        sender.response()
    ran = Counter(overlap.runs[:30])
    assert [ran["a"], ran["b"]] == pytest.approx(list(counts), abs=2)


def test_instances_of_one_model_that_are_free_are_chosen_by_their_priorities(make: Any, limiter: RateLimiter) -> None:
    """The real server has given such instances 114 and 22 of one client's requests."""
    limits = [ModelRateLimiter(priority=5), ModelRateLimiter(priority=1)]
    harness = make(count=2, dynamic=False, permits=[limiter.permit(one) for one in limits])
    for _ in range(36):
        harness.submit()[1].response()
        wait_until(lambda: not harness.pool.in_flight(), "it is done")
    often, seldom = len(harness.fakes[1].batches), len(harness.fakes[0].batches)
    assert often + seldom == 36
    assert 4 <= seldom <= 8


def test_an_instance_that_needs_nothing_goes_on_while_another_waits(make: Any, limiter: RateLimiter) -> None:
    gate = limiter.permit(needs())
    assert gate.take(nothing)
    harness = make(count=2, dynamic=False, permits=[limiter.permit(None), limiter.permit(needs())])
    for _ in range(4):
        harness.submit()[1].response()
    assert [len(fake.batches) for fake in harness.fakes] == [4, 0]


def test_one_that_held_out_for_company_leaves_the_queue_to_one_that_can_go(make: Any, limiter: RateLimiter) -> None:
    gate = limiter.permit(needs())
    harness = make(count=2, delay_us=100_000, permits=[limiter.permit(needs()), limiter.permit(None)])
    _, sender = harness.submit()
    wait_until(lambda: gate.take(nothing), "the first, which waits for company, has given back")
    assert sender.response()["OUT"].tolist() == [[2, 2]]
    assert [len(fake.batches) for fake in harness.fakes] == [0, 1]


@pytest.mark.parametrize("delay_us", [0, 2000, HOUR_US])
def test_cancelled_while_it_waits_for_resources_it_is_answered_at_once(
    make: Any, limiter: RateLimiter, delay_us: int
) -> None:
    gate, permit = limiter.permit(needs()), limiter.permit(needs())
    assert gate.take(nothing)
    harness = make(permits=[permit], delay_us=delay_us)
    request, sender = harness.submit()
    request.cancel()
    assert isinstance(sender.response().error, CancelledError)
    gate.give_back()
    wait_until(lambda: free(permit, gate), "what nobody needs is given back")
    assert not harness.fakes[0].batches


def free(permit: InstancePermit, gate: InstancePermit) -> bool:
    """Whether the resource that both need can be had."""
    got = gate.take(nothing)
    gate.give_back()
    return got


@pytest.mark.parametrize("delay_us", [0, 300])
def test_many_that_come_and_cancel_are_all_answered_and_nothing_is_kept(
    make: Any, limiter: RateLimiter, delay_us: int
) -> None:
    limits = [needs(count=count, priority=count) for count in (1, 2, 3)]
    inside, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def of(name: str, count: int) -> Callable[[Any], Any]:
        def compute(inputs: Any) -> Any:
            with lock:
                inside["R"] += count
                most["R"] = max(most["R"], inside["R"])
            threading.Event().wait(0.0003)
            with lock:
                inside["R"] -= count
            return {"OUT": inputs["IN"] * 2}

        return compute

    pools = [
        make(count=2, delay_us=delay_us, permits=[limiter.permit(limit) for _ in range(2)], compute=of("m", number))
        for number, limit in enumerate(limits, 1)
    ]
    senders: list[Any] = []

    def client(seed: int) -> None:
        chance = Random(seed)
        for _ in range(40):
            request, sender = chance.choice(pools).submit(rows=chance.randint(1, 3))
            senders.append(sender)
            if chance.random() < 0.3:
                request.cancel()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for sender in senders:
        sender.response()
    assert len(senders) == 160
    assert most["R"] <= 3
    for pool in pools:
        wait_until(lambda one=pool: not one.pool.in_flight(), "all is done")  # type: ignore[misc]
    everything = limiter.permit(needs(count=3))
    wait_until(lambda: everything.take(nothing), "nothing is kept")
    assert all(sender.finals == 1 for sender in senders)


def test_a_pool_that_stops_gives_back(make: Any, limiter: RateLimiter) -> None:
    gate, permits = limiter.permit(needs()), [limiter.permit(needs()) for _ in range(2)]
    harness = make(count=2, permits=permits)
    harness.submit()[1].response()
    assert harness.stop()
    assert gate.take(nothing)


def test_instances_that_come_and_go_take_their_needs_with_them(make: Any, limiter: RateLimiter) -> None:
    overlap = Overlap()
    harness = make(dynamic=False, permits=[], compute=overlap.of("x"))
    [first] = harness.pool.instances()
    spare = make(permits=[limiter.permit(needs())], compute=overlap.of("x"), dynamic=False)
    [limited] = spare.pool.instances()
    other = make(permits=[limiter.permit(needs())], compute=overlap.of("y"), dynamic=False)
    assert harness.pool.change_instances([limited], [first])
    senders = [pool.submit()[1] for _ in range(20) for pool in (harness, other)]
    for sender in senders:
        assert sender.response().error is None
    spare.fakes.clear()  # its instance is the other pool's now
    assert harness.stop()
    assert limiter.permit(needs()).take(nothing)


# ---- pools of instances that take requests


def test_models_that_take_requests_share_a_resource(
    forwarding: Callable[..., Forwarding], limiter: RateLimiter
) -> None:
    pools = [forwarding(max_batch=1, concurrency=4, permits=[limiter.permit(needs(priority=n))]) for n in (1, 2)]
    heard = [pool.submit()[1] for _ in range(12) for pool in pools]
    fakes = [fake for pool in pools for fake in pool.fakes.values()]
    order = []
    for _ in range(24):
        wait_until(lambda: any(fake.batches for fake in fakes), "somebody executes")
        [busy] = [fake for fake in fakes if fake.batches]
        order.append(fakes.index(busy))
        busy.respond(busy.waiting[0])
        [number] = busy.batches
        busy.release(number)
    assert [one.finals for one in heard] == [1] * 24
    assert Counter(order[:12])[0] == pytest.approx(8, abs=1)
    assert limiter.permit(needs()).take(nothing)


def test_a_process_that_dies_gives_back(forwarding: Callable[..., Forwarding], limiter: RateLimiter) -> None:
    one, other = (forwarding(permits=[limiter.permit(needs())]) for _ in range(2))
    [dying], [waiting] = one.fakes.values(), other.fakes.values()
    _, heard = one.submit()
    other.submit()
    assert dying.batches
    assert not waiting.batches
    dying.die()
    assert heard.error == "it died"
    wait_until(lambda: waiting.batches, "the resource is the other's")
    [number] = waiting.batches
    waiting.respond(waiting.waiting[0])
    waiting.release(number)
    dying.come_back()
    one.submit()
    wait_until(lambda: dying.batches, "it executes again")


def test_one_that_dies_in_line_leaves_it(forwarding: Callable[..., Forwarding], limiter: RateLimiter) -> None:
    gate = limiter.permit(needs())
    assert gate.take(nothing)
    permit = limiter.permit(needs())
    pool = forwarding(permits=[permit])
    [fake] = pool.fakes.values()
    pool.submit()
    fake.die()
    gate.give_back()
    assert gate.take(nothing)


def test_instances_that_wait_for_company_keep_nothing_from_each_other(
    forwarding: Callable[..., Forwarding], limiter: RateLimiter
) -> None:
    """They would hand the resource round between them until the delay is over."""
    permits = [limiter.permit(needs()) for _ in range(3)]
    pool = forwarding(count=3, delay_us=HOUR_US, max_batch=2, permits=permits)
    taken = 0
    clock = limiter._clock

    def told(due_ns: int, function: Any) -> Any:
        nonlocal taken
        taken += 1
        return at(due_ns, function)

    at, clock.at = clock.at, told  # type: ignore[method-assign]
    gate = limiter.permit(needs())
    assert gate.take(nothing)
    _, heard = pool.submit()  # all three are in line
    gate.close()
    threading.Event().wait(0.05)
    assert taken <= 3
    pool.submit()
    wait_until(lambda: any(fake.batches for fake in pool.fakes.values()), "the batch is full")
    assert not heard.finals


def test_cancelled_in_line_for_a_process_it_is_answered_at_once(
    forwarding: Callable[..., Forwarding], limiter: RateLimiter
) -> None:
    gate = limiter.permit(needs())
    assert gate.take(nothing)
    pool = forwarding(permits=[limiter.permit(needs())])
    request, heard = pool.submit()
    request.cancel()
    assert heard.finals == 1
    gate.give_back()
    wait_until(lambda: gate.take(nothing), "what nobody needs is given back")
