"""What came lately: the last minute in slots of twelve seconds, and nothing that came before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.observability.statistics.distribution import Distribution
from atoll.observability.statistics.summaries import RecentDurations, Summaries
from atoll.observability.statistics.window import SLOT_NS, SLOTS, WINDOW_NS, RecentDistribution

MS = 10**6


@pytest.mark.parametrize("begin_ns", [0, 1, 5 * SLOT_NS - 1, 10**15 + 7])
def test_a_value_is_there_for_at_least_four_slots_and_at_most_a_minute(begin_ns: int) -> None:
    recent = RecentDistribution()
    recent.add(3 * MS, begin_ns)
    for after_ns in (0, SLOT_NS, (SLOTS - 1) * SLOT_NS - 1):
        assert recent.snapshot(begin_ns + after_ns).count == 1
    assert recent.snapshot(begin_ns + WINDOW_NS).count == 0
    assert recent.snapshot(begin_ns + 100 * WINDOW_NS).count == 0
    assert recent.count == 1


def test_the_sum_is_of_all_that_ever_came() -> None:
    recent = RecentDistribution()
    recent.add(3 * MS, 0, times=2)
    recent.add(5 * MS, 10 * WINDOW_NS)
    lately = recent.snapshot(10 * WINDOW_NS)
    assert (lately.count, lately.total, recent.count) == (1, 11 * MS, 3)
    assert 4 * MS < lately.quantile(0.5) < 6 * MS


@given(st.lists(st.tuples(st.integers(0, 3 * SLOT_NS), st.integers(0, 10**12)), max_size=40), st.integers(0, WINDOW_NS))
def test_the_window_is_never_shorter_or_longer_than_that(steps: list[tuple[int, int]], wait_ns: int) -> None:
    recent, now, came = RecentDistribution(), 7 * SLOT_NS + 5, []
    for step_ns, value in steps:
        now += step_ns
        recent.add(value, now)
        came.append(now)
    now += wait_ns
    lately = recent.snapshot(now)
    surely = sum(moment > now - (SLOTS - 1) * SLOT_NS for moment in came)
    perhaps = sum(moment > now - WINDOW_NS for moment in came)
    assert surely <= lately.count <= perhaps
    assert lately.total == sum(value for _, value in steps)
    assert recent.count == len(steps)


def test_each_stage_hears_what_is_its_own() -> None:
    summaries, now = Summaries(), 10**12
    summaries.add(now, 10 * MS, 2 * MS, MS, 6 * MS, MS)
    summaries.add_hit(now, 3 * MS, MS, 2 * MS)
    summaries.add_miss(now, 4 * MS)
    found = summaries.snapshot(now)
    totals = {name: (getattr(found, name).count, getattr(found, name).lately.total // MS) for name in found.__slots__}
    assert totals == {
        "request": (2, 13),
        "queue": (2, 3),
        "compute_input": (1, 1),
        "compute_infer": (1, 6),
        "compute_output": (1, 1),
        "cache_hit": (1, 2),
        "cache_miss": (1, 4),
    }


def test_what_never_happened_has_no_values() -> None:
    found = Summaries().snapshot(5)
    assert found.request == RecentDurations(0, Distribution())
