"""Instances that come and go while a pool serves: no request is lost, and each instance is closed once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from atoll.execution.instance import ModelInstance
from atoll.testing.fake_backend import FakeInstance


@pytest.fixture
def more(make: Any) -> Callable[..., tuple[FakeInstance, ModelInstance]]:
    """One more instance for a harness's pool."""

    def build(harness: Any, name: str = "new") -> tuple[FakeInstance, ModelInstance]:
        old = harness.pool.instances()[0]
        fake = FakeInstance(lambda inputs: {"OUT": inputs["IN"] * 2})
        harness.fakes.append(fake)
        return fake, ModelInstance(name, fake, old._plan, "1", harness.statistics)

    return build


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; pytest's own limit ends a wait that is in vain."""
    done = threading.Event()
    for _ in range(3000):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it never happened")


def test_a_new_instance_takes_what_the_busy_one_cannot(make: Any, more: Any) -> None:
    harness = make(dynamic=False)
    harness.fakes[0].hold()
    _, first = harness.submit()
    assert harness.fakes[0].entered.wait(30)
    _, second = harness.submit(value=4)
    _, instance = more(harness)
    assert harness.pool.change_instances([instance], [])
    assert second.response()["OUT"].tolist() == [[8, 8]]
    harness.fakes[0].release()
    first.response()


def test_an_idle_instance_is_closed_when_it_leaves(make: Any) -> None:
    harness = make(count=2)
    leaving = harness.pool.instances()[0]
    assert harness.pool.change_instances([], [leaving])
    until(lambda: harness.fakes[0].closed)
    assert not harness.fakes[1].closed
    assert harness.submit(value=1)[1].response()["OUT"].tolist() == [[2, 2]]


def test_a_busy_instance_finishes_first_and_what_is_queued_goes_to_the_other(make: Any, more: Any) -> None:
    harness = make(dynamic=False)
    old = harness.fakes[0]
    old.hold()
    _, first = harness.submit()
    assert old.entered.wait(30)
    queued = [harness.submit(value=value)[1] for value in (1, 2)]
    new, instance = more(harness)
    assert harness.pool.change_instances([instance], [harness.pool.instances()[0]])
    assert [one.response()["OUT"].tolist() for one in queued] == [[[2, 2]], [[4, 4]]]
    assert not old.closed
    old.release()
    first.response()
    until(lambda: old.closed)
    assert len(old.batches) == 1
    assert len(new.batches) == 2


def test_an_instance_that_waits_for_company_may_leave(make: Any) -> None:
    harness = make(count=2, delay_us=300_000)
    _, sender = harness.submit(value=5)
    harness.pool.change_instances([], [harness.pool.instances()[-1]])
    assert sender.response()["OUT"].tolist() == [[10, 10]]


def test_a_stopping_pool_takes_no_new_instances(make: Any, more: Any) -> None:
    harness = make()
    fake, instance = more(harness)
    harness.stop()
    assert not harness.pool.change_instances([instance], [])
    instance.close()
    assert fake.closed


def test_stopping_waits_for_one_that_was_leaving(make: Any, more: Any) -> None:
    harness = make()
    old = harness.fakes[0]
    old.hold()
    _, sender = harness.submit()
    assert old.entered.wait(30)
    _, instance = more(harness)
    harness.pool.change_instances([instance], [harness.pool.instances()[0]])
    threading.Timer(0.1, old.release).start()
    assert harness.stop()
    assert old.closed
    assert sender.response().error is None


@pytest.mark.parametrize("by_submitter", [False, True])
def test_nobody_is_lost_while_instances_come_and_go(make: Any, more: Any, by_submitter: bool) -> None:
    harness = make(count=2)
    stop = threading.Event()
    wrong: list[object] = []

    def ask(number: int) -> None:
        for step in range(300):
            value = number * 1000 + step
            defer = (lambda function: function()) if by_submitter else None
            response = harness.submit(value=value, defer=defer)[1].response()
            if response.error is not None or response["OUT"].tolist() != [[2 * value] * 2]:
                wrong.append(response.error)

    def change() -> None:
        count = 0
        while not stop.is_set():
            added = [more(harness, f"new_{count}")[1]]
            harness.pool.change_instances(added, harness.pool.instances()[: 1 + count % 2])
            count += 1
            stop.wait(0.002)

    changing = threading.Thread(target=change)
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    changing.start()
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    stop.set()
    changing.join(60)
    assert not wrong
    assert harness.stop()
    assert all(fake.closed for fake in harness.fakes)
