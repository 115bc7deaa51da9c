"""The token bucket: never more than the rate allows, never less than it promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.frontends.access.rate import RateLimit, TokenBucket

SECOND = 1_000_000_000


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(RateLimit(2, 3))
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, SECOND // 2]
    assert bucket.take(SECOND // 2 - 1) == 1
    assert bucket.take(SECOND // 2) == 0
    assert bucket.take(SECOND // 2) == SECOND // 2


def test_a_pause_fills_it_no_further_than_the_burst() -> None:
    bucket = TokenBucket(RateLimit(10, 2))
    bucket.take(0)
    taken = [bucket.take(1000 * SECOND) for _ in range(3)]
    assert taken[:2] == [0, 0]
    assert taken[2] > 0


def test_a_refusal_takes_nothing() -> None:
    bucket = TokenBucket(RateLimit(1, 1))
    assert bucket.take(0) == 0
    for _ in range(100):
        assert bucket.take(0) == SECOND
    assert bucket.take(SECOND) == 0


@pytest.mark.parametrize("rate", [0.001, 1_000_000])
def test_the_ends_of_what_may_be_asked_for(rate: float) -> None:
    bucket = TokenBucket(RateLimit(rate, 1))
    assert bucket.take(0) == 0
    assert bucket.take(0) == round(SECOND / rate)


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_it_may(rate: float, burst: int, pauses: list[int]) -> None:
    bucket = TokenBucket(RateLimit(rate, burst))
    now, taken = 0, []
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait:
            assert bucket.take(now + wait - 1) > 0, "it may go on sooner than it was told"
        else:
            taken.append(now)
    spacing = max(1, round(SECOND / rate))
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - start) // spacing + 1


@given(st.floats(0.01, 1000), st.integers(1, 50), st.integers(0, 10 * SECOND))
def test_who_waits_as_long_as_told_may_go_on(rate: float, burst: int, start: int) -> None:
    bucket = TokenBucket(RateLimit(rate, burst))
    while not (wait := bucket.take(start)):
        pass
    assert bucket.take(start + wait) == 0
