"""The clock of a pool whose scheduler waits: called when it is time, once, and never after its end."""

import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import pytest

from atoll.execution.alarm import Alarm

PATIENCE_S = 60.0
HOUR_NS = 3_600 * 10**9
MS = 10**6

Make = Callable[[Callable[[], None]], Alarm]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Alarm] = []

    def build(function: Callable[[], None]) -> Alarm:
        made.append(Alarm("test", function))
        return made[-1]

    yield build
    for one in made:
        one.close()
        one.close()


def test_it_is_called_when_it_is_time_and_not_before(make: Make) -> None:
    times: list[int] = []
    called = threading.Event()

    def function() -> None:
        times.append(monotonic_ns())
        called.set()

    alarm = make(function)
    due_ns = monotonic_ns() + 20 * MS
    alarm.set(due_ns)
    alarm.set(due_ns)
    assert called.wait(PATIENCE_S)
    assert len(times) == 1
    assert times[0] >= due_ns


def test_another_moment_takes_the_place_of_the_first(make: Make) -> None:
    called = threading.Event()
    alarm = make(called.set)
    alarm.set(monotonic_ns() + HOUR_NS)
    alarm.set(monotonic_ns())
    assert called.wait(PATIENCE_S)
    called.clear()
    alarm.set(monotonic_ns() - HOUR_NS)  # long past
    assert called.wait(PATIENCE_S)


def test_it_may_be_set_by_what_it_calls_and_survives_what_that_raises(make: Make) -> None:
    count = 0
    done = threading.Event()
    holder: list[Any] = []

    def function() -> None:
        nonlocal count
        count += 1
        if count < 4:
            holder[0].set(monotonic_ns() + MS)
            raise ValueError("a bug")
        done.set()

    holder.append(make(function))
    holder[0].set(monotonic_ns())
    assert done.wait(PATIENCE_S)
    assert count == 4


def test_nothing_is_called_after_its_end(make: Make) -> None:
    called: list[int] = []
    alarm = make(lambda: called.append(1))
    alarm.close()
    alarm.set(monotonic_ns())
    waiting = make(lambda: called.append(2))
    waiting.set(monotonic_ns() + HOUR_NS)
    thread = waiting._thread
    assert thread is not None
    waiting.close()
    assert not thread.is_alive()
    assert called == []


def test_it_may_be_closed_by_what_it_calls(make: Make) -> None:
    done = threading.Event()
    holder: list[Alarm] = []

    def function() -> None:
        holder[0].close()
        done.set()

    holder.append(make(function))
    holder[0].set(monotonic_ns())
    assert done.wait(PATIENCE_S)
