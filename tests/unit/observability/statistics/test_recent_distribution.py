"""What came lately: the last minute in slots of twelve seconds, and nothing that came before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.observability.statistics.distribution import NS_BOUNDS, Distribution
from atoll.observability.statistics.durations import NOTHING, Duration
from atoll.observability.statistics.summaries import RecentDurations, Summaries
from atoll.observability.statistics.window import SLOT_NS, SLOTS, WINDOW_NS, Window

MS = 10**6


def _come(window: Window, counts: list[int], now_ns: int) -> None:
    window.turn(now_ns)
    counts[0] += 1


@pytest.mark.parametrize("begin_ns", [0, 1, 5 * SLOT_NS - 1, 10**15 + 7])
def test_a_value_is_there_for_at_least_four_slots_and_at_most_a_minute(begin_ns: int) -> None:
    counts = [0]
    window = Window([counts])
    _come(window, counts, begin_ns)
    for after_ns in (0, SLOT_NS, (SLOTS - 1) * SLOT_NS - 1):
        assert window.lately(begin_ns + after_ns) == [(1,)]
    assert window.lately(begin_ns + WINDOW_NS) == [(0,)]
    assert window.lately(begin_ns + 100 * WINDOW_NS) == [(0,)]
    assert counts == [1]


def test_each_list_is_looked_at_by_itself() -> None:
    first, second = [5, 0], [0, 7]  # before the window was there: that is not lately
    window = Window([first, second])
    window.turn(0)
    first[1] += 2
    window.turn(10 * WINDOW_NS)
    second[0] += 3
    assert window.lately(10 * WINDOW_NS) == [(0, 0), (3, 0)]


@given(st.lists(st.integers(0, 3 * SLOT_NS), max_size=40), st.integers(0, WINDOW_NS))
def test_the_window_is_never_shorter_or_longer_than_that(steps: list[int], wait_ns: int) -> None:
    counts, now, came = [0], 7 * SLOT_NS + 5, []
    window = Window([counts])
    for step_ns in steps:
        now += step_ns
        _come(window, counts, now)
        came.append(now)
    now += wait_ns
    surely = sum(moment > now - (SLOTS - 1) * SLOT_NS for moment in came)
    perhaps = sum(moment > now - WINDOW_NS for moment in came)
    assert surely <= window.lately(now)[0][0] <= perhaps


def _summaries() -> Summaries:
    return Summaries((NS_BOUNDS, [0] * (len(NS_BOUNDS) + 1)), (NS_BOUNDS, [0] * (len(NS_BOUNDS) + 1)))


def test_each_stage_hears_what_is_its_own() -> None:
    summaries, now = _summaries(), 10**12
    summaries.add(now, MS, 6 * MS, 2 * MS, times=3)
    summaries.add_hit(now, 20 * MS)
    summaries.add_miss(now, 40 * MS)
    stages = [Duration(number, number * MS) for number in range(7)]
    found = summaries.snapshot(now, stages)
    durations = [getattr(found, name) for name in found.__slots__]
    assert [(one.count, one.lately.total) for one in durations] == [(one.count, one.ns) for one in stages]
    middles = {name: getattr(found, name).lately.quantile(0.5) / MS for name in found.__slots__[2:]}
    expected = {"compute_input": 1, "compute_infer": 6, "compute_output": 2, "cache_hit": 20, "cache_miss": 40}
    assert middles == pytest.approx(expected, rel=0.1)
    assert [one.lately.count for one in durations] == [0, 0, 3, 3, 3, 1, 1]


def test_what_is_counted_anyway_is_looked_at_where_it_is() -> None:
    bounds, counts = (10, 20), [0, 0, 0]
    summaries = Summaries((bounds, counts), (bounds, [0, 0, 0]))
    summaries.add(5, 1, 1, 1)
    counts[1] += 1
    summaries.add(5 + 2 * WINDOW_NS, 1, 1, 1)
    counts[2] += 1
    found = summaries.snapshot(5 + 2 * WINDOW_NS, [Duration(2, 35)] * 7)
    assert found.request == RecentDurations(2, Distribution(bounds, (0, 0, 1), 35))


def test_what_never_happened_has_no_values() -> None:
    found = _summaries().snapshot(5, [NOTHING] * 7)
    assert found.request == RecentDurations(0, Distribution())
