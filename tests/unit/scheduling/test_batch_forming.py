"""The dynamic batching rule, against what the real server was seen to do and against its own properties."""

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.scheduler import WaitUntil


@dataclass
class Waiting:
    batch_size: int
    batch_key: object = None


def form(sizes: list[int], rules: BatchRules, age_ns: int = 0) -> int | WaitUntil:
    return form_batch([Waiting(size) for size in sizes], rules, 1000, 1000 + age_ns)


def drained(sizes: list[int], rules: BatchRules, age_ns: int) -> list[int]:
    """The batches in items that a queue of these requests comes out in, when nothing is added."""
    queue = deque(Waiting(size) for size in sizes)
    batches = []
    while queue:
        formed = form_batch(queue, rules, 0, age_ns)
        if isinstance(formed, WaitUntil):
            formed = form_batch(queue, rules, 0, formed.ns)
        assert isinstance(formed, int)
        batches.append(sum(queue.popleft().batch_size for _ in range(formed)))
    return batches


class TestWithoutDelay:
    def test_all_that_fits_runs_at_once(self) -> None:
        assert form([1, 1, 1], BatchRules(8)) == 3

    def test_never_more_than_the_maximum(self) -> None:
        assert form([3, 3, 3], BatchRules(8)) == 2

    def test_the_largest_preferred_size_that_can_be_made(self) -> None:
        assert form([1] * 7, BatchRules(8, frozenset({2, 4}))) == 4

    def test_less_than_any_preferred_size_runs_too(self) -> None:
        assert form([1], BatchRules(8, frozenset({4}))) == 1


class TestWithDelay:
    rules = BatchRules(8, frozenset({4}), max_queue_delay_ns=500)

    def test_too_few_wait_for_company(self) -> None:
        assert form([1, 1, 1], self.rules, 100) == WaitUntil(1500)

    def test_a_preferred_size_runs_at_once(self) -> None:
        assert form([1] * 4, self.rules, 100) == 4

    def test_past_the_delay_all_that_fits_runs(self) -> None:
        assert form([1] * 7, self.rules, 500) == 7

    def test_a_full_batch_waits_for_nobody(self) -> None:
        assert form([8], self.rules, 0) == 1

    def test_the_next_request_not_fitting_ends_the_wait(self) -> None:
        assert form([3, 6], self.rules, 0) == 1

    def test_no_preferred_size_waits_for_the_maximum(self) -> None:
        rules = BatchRules(4, max_queue_delay_ns=500)
        assert form([1, 1], rules, 0) == WaitUntil(1500)
        assert form([1, 1, 2], rules, 0) == 3


def test_different_shapes_do_not_run_together() -> None:
    queue = [Waiting(1, "a"), Waiting(1, "a"), Waiting(1, "b")]
    assert form_batch(queue, BatchRules(8, max_queue_delay_ns=500), 0, 0) == 2


@pytest.mark.parametrize("age_ns", [0, 10**9])
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=40),
    preferred=st.frozensets(st.integers(1, 8), max_size=3),
    delay_ns=st.sampled_from([0, 1000]),
)
def test_every_request_comes_out_once_in_order_and_no_batch_is_too_large(
    age_ns: int, sizes: list[int], preferred: frozenset[int], delay_ns: int
) -> None:
    batches = drained(sizes, BatchRules(8, preferred, delay_ns), age_ns)
    assert sum(batches) == sum(sizes)
    assert all(0 < batch <= 8 for batch in batches)


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=20),
    preferred=st.frozensets(st.integers(1, 8), max_size=3),
    delay_ns=st.integers(1, 1000),
    age_ns=st.integers(0, 2000),
)
def test_nobody_waits_longer_than_the_delay(
    sizes: list[int], preferred: frozenset[int], delay_ns: int, age_ns: int
) -> None:
    formed = form(sizes, BatchRules(8, preferred, delay_ns), age_ns)
    if isinstance(formed, WaitUntil):
        assert age_ns < delay_ns
        assert formed.ns == 1000 + delay_ns
