"""Distributions: quantiles within their buckets, sums at bounds that are exact, differences."""

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.observability.statistics.distribution import NO_VALUES, NS_BOUNDS, Distribution, bounds_with
from atoll.observability.statistics.measures import DEFAULT_BUCKETS, UNITS

VALUES = st.lists(st.integers(0, 2 * NS_BOUNDS[-1]) | st.sampled_from(NS_BOUNDS), max_size=60)


def distribution(values: list[int]) -> Distribution:
    counts = [0] * (len(NS_BOUNDS) + 1)
    for value in values:
        counts[bisect_left(NS_BOUNDS, value)] += 1
    return Distribution(NS_BOUNDS, tuple(counts), sum(values))


def test_bounds_are_ascending_and_twenty_to_a_decade() -> None:
    assert list(NS_BOUNDS) == sorted(set(NS_BOUNDS))
    assert (NS_BOUNDS[0], NS_BOUNDS[-1]) == (1000, 10**11)
    assert all(high / low <= 1.15 for low, high in pairwise(NS_BOUNDS))


@pytest.mark.parametrize("family", [family for family, unit in UNITS.items() if unit == 10**9])
def test_the_usual_histograms_buckets_are_sums_of_these(family: str) -> None:
    assert set(DEFAULT_BUCKETS[family]) <= set(NS_BOUNDS)


@given(VALUES)
def test_sums_at_bounds_are_exact_and_never_fall(values: list[int]) -> None:
    found = distribution(values).cumulative(NS_BOUNDS)
    assert found == [sum(value <= bound for value in values) for bound in NS_BOUNDS]
    assert distribution(values).count == len(values)


@given(VALUES.filter(bool), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_value_that_it_stands_for(values: list[int], part: float) -> None:
    found = distribution(values).quantile(part)
    exact = sorted(values)[max(math.ceil(part * len(values)), 1) - 1]
    place = bisect_left(NS_BOUNDS, exact)
    if place == len(NS_BOUNDS):
        assert found == NS_BOUNDS[-1]  # beyond it nothing is known
    else:
        assert (NS_BOUNDS[place - 1] if place else 0) <= found <= NS_BOUNDS[place]


@given(VALUES.filter(bool), st.lists(st.floats(0, 1), min_size=2))
def test_larger_parts_have_larger_quantiles_and_several_at_once_are_the_same(
    values: list[int], parts: list[float]
) -> None:
    counted = distribution(values)
    found = counted.quantiles(sorted(parts))
    assert found == sorted(found) == [counted.quantile(part) for part in sorted(parts)]


def test_no_values_have_no_quantile() -> None:
    assert math.isnan(NO_VALUES.quantile(0.5))
    assert NO_VALUES.count == 0


def test_a_part_beyond_all_of_it_is_nobodys_question() -> None:
    with pytest.raises(AssertionError, match="between 0 and 1"):
        distribution([5]).quantile(1.5)


@given(VALUES, VALUES)
def test_what_came_since_is_the_difference(before: list[int], after: list[int]) -> None:
    assert distribution(before + after).since(distribution(before)) == distribution(after)


@given(st.lists(st.integers(1, 10**12), max_size=20))
def test_chosen_bounds_stand_beside_the_usual_ones(own: list[int]) -> None:
    assert list(bounds_with(own)) == sorted(set(NS_BOUNDS) | set(own))
