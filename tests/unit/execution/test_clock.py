"""A server's clock and the alarms on it: called when it is time, once, and never after their end."""

import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import pytest

from atoll.execution.clock import Alarm, Clock

PATIENCE_S = 60.0
HOUR_NS = 3_600 * 10**9
MS = 10**6

Make = Callable[[Callable[[], None]], Alarm]


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock("test")
    yield clock
    clock.close()
    clock.close()


@pytest.fixture
def make(clock: Clock) -> Iterator[Make]:
    made: list[Alarm] = []

    def build(function: Callable[[], None]) -> Alarm:
        made.append(Alarm(clock, function))
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
    waiting.close()
    after = threading.Event()
    make(after.set).set(monotonic_ns())
    assert after.wait(PATIENCE_S)
    assert called == []


def test_a_closed_clock_calls_nothing_and_has_no_thread(clock: Clock) -> None:
    called: list[int] = []
    clock.at(monotonic_ns() + HOUR_NS, lambda: called.append(1))
    thread = clock._thread
    assert thread is not None
    clock.close()
    assert not thread.is_alive()
    clock.at(monotonic_ns(), lambda: called.append(2))
    assert called == []


def test_a_cancelled_call_does_not_come(clock: Clock) -> None:
    called: list[int] = []
    after = threading.Event()
    due_ns = monotonic_ns() + 20 * MS
    clock.at(due_ns, lambda: called.append(1)).cancel()
    clock.at(due_ns, after.set)
    assert after.wait(PATIENCE_S)
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


def test_a_moment_beyond_all_that_can_be_waited_for_stops_no_other(clock: Clock) -> None:
    called = threading.Event()
    clock.at(1 << 80, lambda: None)
    threading.Event().wait(0.05)  # the clock's thread waits for it
    clock.at(monotonic_ns(), called.set)
    assert called.wait(PATIENCE_S)
