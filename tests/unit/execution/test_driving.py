"""The rule of who drives an instance."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from atoll.execution.driving import CREDIT, HICCUP, LONG_NS, PROOF, SHORT_NS, Pace, may_submitter_drive


def test_every_condition_is_needed() -> None:
    names = ("enabled", "bounded", "waits")
    allowed = [
        dict(zip(names, values, strict=True))
        for values in itertools.product([False, True], repeat=3)
        if may_submitter_drive(**dict(zip(names, values, strict=True)))
    ]
    assert allowed == [{"enabled": True, "bounded": True, "waits": False}]


def proven() -> Pace:
    pace = Pace()
    for _ in range(PROOF + CREDIT):
        pace.observe(SHORT_NS)
    return pace


def test_an_instance_proves_itself() -> None:
    pace = Pace()
    for _ in range(PROOF):
        assert not pace.is_short
        pace.observe(SHORT_NS)
    assert pace.is_short


def test_the_first_long_execution_ends_it() -> None:
    pace = proven()
    pace.observe(LONG_NS + 1)
    assert not pace.is_short
    pace.observe(1)
    assert not pace.is_short


def test_a_hiccup_is_forgiven_and_a_habit_is_not() -> None:
    pace = proven()
    pace.observe(SHORT_NS + 1)
    assert pace.is_short
    for _ in range(CREDIT // HICCUP):
        pace.observe(LONG_NS)
    assert not pace.is_short


@given(st.lists(st.integers(0, 3 * LONG_NS), max_size=200))
def test_the_score_stays_within_its_bounds(executions: list[int]) -> None:
    pace = Pace()
    for execution_ns in executions:
        pace.observe(execution_ns)
        assert 0 <= pace.score <= PROOF + CREDIT
