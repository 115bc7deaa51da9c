"""The cache's threads: all that they take is done, no more waits than is allowed, and they end."""

import threading
from time import monotonic_ns

from atoll.caching.workers import Workers

PATIENCE_S = 30
LATER_NS = PATIENCE_S * 1_000_000_000


def test_several_are_done_at_once_and_all_are_done() -> None:
    workers = Workers(count=3)
    together = threading.Barrier(3)
    done = []

    def meet() -> None:
        together.wait(PATIENCE_S)
        done.append(1)

    assert all([workers.give(meet) for _ in range(9)])
    assert workers.close(monotonic_ns() + LATER_NS)
    assert len(done) == 9
    assert not workers.give(meet)


def test_no_thread_is_started_for_nothing() -> None:
    workers = Workers(count=8)
    for _ in range(20):
        one = threading.Event()
        workers.give(one.set)
        assert one.wait(PATIENCE_S)
    assert len(workers._threads) <= 8
    assert workers.close(monotonic_ns() + LATER_NS)
    assert Workers().close(monotonic_ns() + LATER_NS)


def test_what_waits_is_bounded_in_number_and_bytes() -> None:
    workers = Workers(count=1, most_waiting=3, most_waiting_bytes=100)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        go_on.wait(PATIENCE_S)

    assert workers.give(hold)
    assert inside.wait(PATIENCE_S)
    done: list[int] = []
    assert workers.give(lambda: done.append(1), 1000)  # nothing else waits: the largest has to be done some time
    assert not workers.give(lambda: done.append(2), 1)
    assert workers.give(lambda: done.append(3))
    assert workers.give(lambda: done.append(4))
    assert not workers.give(lambda: done.append(5))
    assert not workers.close(monotonic_ns())  # it is still held
    go_on.set()
    assert workers.close(monotonic_ns() + LATER_NS)
    assert done == [1, 3, 4]


def test_one_that_fails_ends_no_thread() -> None:
    workers = Workers(count=1)
    after = threading.Event()

    def fail() -> None:
        raise ValueError

    workers.give(fail)
    workers.give(after.set)
    assert after.wait(PATIENCE_S)
    assert workers.close(monotonic_ns() + LATER_NS)
