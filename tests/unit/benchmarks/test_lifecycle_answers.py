"""Which answers of a model that is replaced under load are right: judged by when they were asked for and answered."""

from collections.abc import Sequence

import numpy as np
import pytest
from benchmarks.lifecycle.answers import FAILED, GARBLED, Change, Phase, Tally, seen, tally
from hypothesis import given
from hypothesis import strategies as st

# Loaded at 0..10, replaced at 100..110 and at 200..210; then only its instances change.
CHANGES = [
    Change("load", 1, 0, 10),
    Change("reload", 2, 100, 110),
    Change("reload", 3, 200, 210),
    Change("instances", 3, 300, 310),
]
ALL = Phase("all", 0, 1_000)


def judged(*answers: tuple[int, int, int], phase: Phase = ALL) -> Tally:
    return tally(np.array(answers, np.int64).reshape(-1, 3), phase, CHANGES)


@pytest.mark.parametrize(
    ("sent", "received", "right"),
    [
        (20, 90, {1}),  # nothing else is there
        (20, 105, {1, 2}),  # the second one is being loaded when the answer comes
        (105, 108, {1, 2}),
        (111, 150, {2}),  # sent after the load was answered: the first one must be gone
        (99, 250, {1, 2, 3}),  # it waited through both
        (290, 305, {3}),
        (400, 401, {3}),
    ],
)
def test_an_answer_comes_from_a_model_that_was_served_meanwhile(sent: int, received: int, right: set[int]) -> None:
    found = {factor for factor in range(1, 5) if not judged((sent, received, factor)).wrong}
    assert found == right


def test_garbled_answers_are_wrong_and_failures_are_failures() -> None:
    found = judged((20, 30, GARBLED), (20, 30, FAILED), (20, 30, 1))
    assert (found.requests, found.failed, found.wrong) == (3, 1, 1)


def test_an_answer_before_anything_was_loaded_is_wrong() -> None:
    late = [Change("load", 1, 50, 60)]
    assert tally(np.array([[10, 20, 1]], np.int64), ALL, late).wrong == 1


def test_a_request_belongs_to_the_phase_in_which_it_was_sent() -> None:
    answers = (99, 250, 1), (100, 250, 2), (199, 250, 2), (200, 250, 3)
    assert judged(*answers, phase=Phase("first", 100, 200)).requests == 2
    assert judged(*answers, phase=Phase("second", 200, 300)).requests == 1


def test_latencies_are_those_of_requests_that_were_answered() -> None:
    answers = [(1_000_000 * i, 1_000_000 * i + 1_000 * (i + 1), 3) for i in range(1, 101)]
    found = judged(*answers, (500_000_000, 999_000_000, FAILED), phase=Phase("all", 0, 10**12))
    assert (found.p50_us, found.p99_us, found.max_us) == (51.0, 100.0, 101.0)
    assert found.failed == 1


def test_a_phase_without_requests_has_no_latency() -> None:
    found = judged()
    assert found.requests == 0
    assert np.isnan(found.p99_us)


def test_seen_models_are_those_with_an_answer() -> None:
    assert seen(np.array([[0, 1, 2], [0, 1, 5], [0, 1, FAILED], [0, 1, GARBLED], [2, 3, 5]], np.int64)) == {2, 5}


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 600)), max_size=20),
)
def test_a_server_that_switches_within_each_load_is_never_wrong(
    gaps: Sequence[tuple[int, int]], requests: Sequence[tuple[int, int]]
) -> None:
    """Whichever of the served models answers: here the one at the moment between sending and answer."""
    changes, now = [], 0
    for factor, (pause, length) in enumerate(gaps, 1):
        changes.append(Change("reload", factor, now + pause, now + pause + length))
        now += pause + length
    switches = [(change.began_ns + change.ended_ns + 1) // 2 for change in changes]
    first = changes[0].ended_ns
    answers = []
    for after, takes in requests:
        sent, moment = first + after, first + after + takes // 2
        answers.append((sent, sent + takes, sum(switch <= moment for switch in switches)))
    found = tally(np.array(answers, np.int64).reshape(-1, 3), Phase("all", 0, 10**6), changes)
    assert (found.requests, found.wrong, found.failed) == (len(answers), 0, 0)
