"""The limit that the bare loop sets for a mixture of batch sizes, and the statistics that the mixture is read from."""

import pytest
from benchmarks.bare_loop import mixture_limit, sizes_that_matter
from benchmarks.statistics_document import Counts, parse_counts
from hypothesis import given
from hypothesis import strategies as st

MIXTURES = st.dictionaries(st.integers(1, 32), st.integers(1, 10_000), min_size=1, max_size=32)


def test_limit_is_rows_over_the_time_that_their_batches_take() -> None:
    # Three runs of one row in 1 ms each, one run of eight rows in 2 ms: eleven rows in 5 ms.
    assert mixture_limit({1: 3, 8: 1}, {1: 0.001, 8: 0.002}) == pytest.approx(11 / 0.005)


@given(MIXTURES, st.floats(1e-6, 1))
def test_limit_of_a_model_whose_rows_cost_the_same_does_not_depend_on_the_mixture(
    executions: dict[int, int], row_seconds: float
) -> None:
    limit = mixture_limit(executions, {size: size * row_seconds for size in executions})
    assert limit == pytest.approx(1 / row_seconds)


@given(MIXTURES, st.floats(1e-6, 1))
def test_limit_lies_between_the_slowest_and_the_fastest_batch_size(executions: dict[int, int], seconds: float) -> None:
    rates = [size / seconds for size in executions]
    limit = mixture_limit(executions, dict.fromkeys(executions, seconds))
    assert min(rates) * 0.999 <= limit <= max(rates) * 1.001


def test_nothing_executed_has_no_limit() -> None:
    with pytest.raises(ValueError, match="no batches"):
        mixture_limit({}, {})


def test_sizes_that_carried_next_to_nothing_are_left_out() -> None:
    assert sizes_that_matter({1: 5, 2: 10, 32: 100}) == {32: 100}
    assert sizes_that_matter({1: 40, 32: 100}) == {1: 40, 32: 100}


@given(MIXTURES)
def test_at_least_two_thirds_of_the_rows_are_kept(executions: dict[int, int]) -> None:
    kept = sizes_that_matter(executions)
    assert kept.items() <= executions.items()
    rows = sum(size * count for size, count in executions.items())
    assert sum(size * count for size, count in kept.items()) > rows * (1 - 0.01 * 32)


def version(success: int, fail: int, **executions: int) -> dict[str, object]:
    return {
        "inference_stats": {"success": {"count": success, "ns": 1}, "fail": {"count": fail}},
        "batch_stats": [
            {"batch_size": int(size[1:]), "compute_infer": {"count": count, "ns": 7}, "compute_input": {"count": 99}}
            for size, count in executions.items()
        ],
    }


def test_counts_are_summed_over_versions() -> None:
    document = {"model_stats": [version(10, 1, b1=4, b2=3), version(5, 0, b2=1, b8=2)]}
    assert parse_counts(document) == Counts(succeeded=15, failed=1, executions={1: 4, 2: 4, 8: 2})


def test_counts_may_be_json_strings_or_left_out() -> None:
    batch = {"batch_size": "4", "compute_infer": {"count": "2"}}
    document = {"model_stats": [{"inference_stats": {"success": {"count": "8"}}, "batch_stats": [batch]}, {}]}
    assert parse_counts(document) == Counts(succeeded=8, failed=0, executions={4: 2})


def test_between_two_readings_only_what_grew_is_there() -> None:
    earlier = Counts(succeeded=10, failed=1, executions={1: 4, 2: 3})
    later = Counts(succeeded=30, failed=1, executions={1: 4, 2: 5, 8: 2})
    assert later.since(earlier) == Counts(succeeded=20, failed=0, executions={2: 2, 8: 2})


def test_mean_batch() -> None:
    assert Counts(0, 0, {1: 2, 4: 2}).mean_batch == 2.5
    assert Counts(0, 0, {}).mean_batch is None
