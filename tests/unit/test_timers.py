"""Timers: called once, in their order, unless they are cancelled; and cancelled ones do not pile up."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from atoll.timers import Timers


def run(timers: Timers, now: float) -> None:
    while (timer := timers.due(now)) is not None:
        timer.fire()


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=600),
    st.lists(st.floats(0, 150), max_size=10),
)
def test_they_are_called_when_due_in_order_and_once(wanted: list[tuple[float, bool]], moments: list[float]) -> None:
    timers = Timers()
    called: list[float] = []
    for when, cancelled in wanted:
        before = timers.next_at()
        timer, is_next = timers.add(when, partial(called.append, when))
        assert is_next == (before is None or when < before)
        if cancelled:
            timer.cancel()
    for now in [*sorted(moments), 200.0]:
        run(timers, now)
        assert called == sorted(when for when, cancelled in wanted if not cancelled and when <= now)
    assert timers.next_at() is None


def test_cancelled_ones_do_not_pile_up() -> None:
    timers = Timers()
    kept, _ = timers.add(5.0, lambda: None)
    for number in range(100_000):
        timers.add(1000.0 + number, lambda: None)[0].cancel()
    assert len(timers) < 1000
    assert not kept.is_cancelled
    assert timers.due(6.0) is kept


def test_cancelling_after_the_call_does_nothing() -> None:
    timers = Timers()
    called: list[int] = []
    timer, _ = timers.add(0.0, lambda: called.append(1))
    run(timers, 1.0)
    timer.cancel()
    timer.fire()
    assert called == [1]
