"""What the page is told of models: percentiles of the last seconds, batch sizes, and what comes first."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.frontends.dashboard.recorded import answered, batches, recorder, statistics

from atoll.frontends.dashboard.concerns import Level
from atoll.frontends.dashboard.readings import Reading, key_of
from atoll.frontends.dashboard.rows import MAX_TEXT, batch_groups, ordered, rows
from atoll.frontends.dashboard.window import window
from atoll.models.index import IndexEntry
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import ModelStatistics

READY = IndexEntry("m", "1", "READY")
FAILED = IndexEntry("m", "1", "UNAVAILABLE", "no such file")


def row_of(
    now: ModelStatistics | None = None, earlier: ModelStatistics | None = None, entry: IndexEntry = READY, **more: Any
) -> dict[str, Any]:
    known = [] if now is None else [now]
    before = {} if earlier is None else {key_of(earlier): earlier}
    (row,) = rows(Reading([entry], more.pop("failures", {}), known, before, more.pop("window_s", 10.0), **more))
    return row


def test_percentiles_are_those_of_the_window() -> None:
    record = recorder()
    answered(record, 0, 500, times=1000)  # long ago
    earlier = record.snapshot()
    answered(record, 1, 1, times=90)
    answered(record, 9, 11, times=10)
    row = row_of(record.snapshot(), earlier)
    lately = row["lately"]
    assert lately["rate"] == 10
    assert lately["p50"] == pytest.approx(2, rel=0.15)
    assert lately["p99"] == pytest.approx(20, rel=0.15)
    assert lately["queue_part"] == pytest.approx(180 / 380)
    assert row["total"]["p50"] == pytest.approx(500, rel=0.15)
    assert row["total"]["requests"] == 1100


def test_a_model_without_requests_has_no_percentiles_and_not_zero() -> None:
    record = recorder()
    lately = row_of(record.snapshot(), record.snapshot())["lately"]
    assert (lately["rate"], lately["p50"], lately["p99"]) == (0, None, None)
    assert lately["queue_part"] is None
    assert lately["batch"] is None


def test_what_was_counted_long_ago_is_not_shown_as_now() -> None:
    record = recorder()
    answered(record, 1, 1, times=5)
    assert row_of(record.snapshot(), record.snapshot())["lately"]["p99"] is None
    assert row_of(record.snapshot(), window_s=None)["lately"] is None


def test_a_model_that_was_loaded_anew_begins_at_zero() -> None:
    before, after = recorder(), recorder()
    answered(before, 0, 900, times=50)
    answered(after, 0, 2, times=20)
    lately = row_of(after.snapshot(), before.snapshot())["lately"]
    assert lately["requests"] == 20
    assert lately["p99"] == pytest.approx(2, rel=0.15)


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_no_past_makes_a_window_wrong(early: list[int], late: list[int]) -> None:
    """Whatever the past was, of this recorder or of another one: nothing negative, and no more than there is."""
    record, other = recorder(), recorder()
    for one in early:
        answered(record, one, 10**one)
        answered(other, 0, 3)
    past = record.snapshot()
    for one in late:
        answered(record, one, 10**one)
    now = record.snapshot()
    assert window(now, past, 1.0).succeeded == len(late)
    for earlier in (None, other.snapshot()):
        found = window(now, earlier, 1.0)
        assert 0 <= found.succeeded <= len(early) + len(late)
        assert min(found.durations.counts) >= 0
        row_of(now, earlier)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ({}, []),
        ({1: 5}, [("1", 5)]),
        ({1: 5, 2: 1, 3: 2, 4: 3, 9: 7}, [("1", 5), ("2", 1), ("3-4", 5), ("5-8", 0), ("9-16", 7)]),
        ({64: 2, 33: 1}, [("33-64", 3)]),
        ({0: 1}, [("1", 1)]),
    ],
)
def test_batch_sizes_are_grouped(sizes: dict[int, int], groups: list[tuple[str, int]]) -> None:
    assert batch_groups(sizes) == groups


@given(st.dictionaries(st.integers(0, 10**6), st.integers(0, 100)))
def test_groups_lose_no_execution_and_stay_few(sizes: dict[int, int]) -> None:
    groups = batch_groups(sizes)
    assert sum(count for _, count in groups) == sum(sizes.values())
    assert len(groups) <= 21


def test_batch_sizes_are_those_of_the_window() -> None:
    earlier = statistics(batch_stats=batches(_1=10), execution_count=10, inference_count=10)
    now = statistics(batch_stats=batches(_1=10, _8=2), execution_count=12, inference_count=26)
    row = row_of(now, earlier)
    assert row["lately"]["batches"] == [("5-8", 2)]
    assert row["lately"]["batch"] == 8
    assert row["total"]["batches"][0] == ("1", 10)


def test_requests_that_fail_were_in_their_batches_too() -> None:
    now = statistics(batch_stats=batches(_4=10), execution_count=10, inference_count=20)  # half of them failed
    row = row_of(now, statistics())
    assert (row["lately"]["batch"], row["total"]["batch"]) == (4, 4)


def test_what_the_cache_answers_has_been_in_no_queue() -> None:
    hits = Duration(5, 500)
    row = row_of(statistics(success=hits, queue=hits, cache_hit=hits), statistics())
    assert row["lately"]["rate"] == 0.5
    assert row["lately"]["queue_part"] is None


@pytest.mark.parametrize(
    ("entry", "failures", "now", "level"),
    [
        (FAILED, {"m": "no such file"}, None, Level.FAILED),
        (FAILED, {}, None, Level.FAILED),
        (READY, {"m": "bad config"}, statistics(), Level.FAILED),
        (READY, {}, statistics(failures={"BACKEND": 1}), Level.FAILING),
        (READY, {}, statistics(failures={"CANCELED": 7}), Level.IDLE),
        (READY, {}, statistics(refusals={"UNAVAILABLE": 1}), Level.REFUSING),
        (READY, {}, statistics(refusals={"INVALID_ARG": 1}), Level.REFUSING),
        (IndexEntry("m", "1", "LOADING"), {}, None, Level.CHANGING),
        (IndexEntry("m", "1", "UNLOADING"), {}, None, Level.CHANGING),
        (IndexEntry("m", "1", "UNAVAILABLE", "unloaded"), {}, None, Level.UNLOADED),
        (READY, {}, statistics(pending_request_count=1), Level.ACTIVE),
        (READY, {}, statistics(), Level.IDLE),
    ],
)
def test_how_urgent_it_is(
    entry: IndexEntry, failures: dict[str, str], now: ModelStatistics | None, level: Level
) -> None:
    row = row_of(now, statistics(), entry, failures=failures)
    assert Level(row["level"]) is level
    assert bool(row["concern"]) == (level in (Level.FAILING, Level.REFUSING))


def test_one_wrong_request_of_many_is_no_concern() -> None:
    record = recorder()
    earlier = record.snapshot()
    answered(record, 0, 1, times=100)
    now = record.snapshot()
    now.refusals["INVALID_ARG"] = 1  # type: ignore[index]
    row = row_of(now, earlier)
    assert Level(row["level"]) is Level.ACTIVE
    assert row["lately"]["refusing"] == 0.1
    assert row["total"]["refusals"] == {"INVALID_ARG": 1}


@pytest.mark.parametrize(
    ("queue_ms", "pending", "level"),
    [(30, 20, Level.WAITING), (30, 3, Level.ACTIVE), (1, 20, Level.ACTIVE)],
)
def test_a_long_queue_is_a_concern(queue_ms: float, pending: int, level: Level) -> None:
    record = recorder()
    earlier = record.snapshot()
    answered(record, queue_ms, 5, times=50)
    row = row_of(record.snapshot(pending=pending), earlier)
    assert Level(row["level"]) is level
    if level is Level.WAITING:
        assert row["concern"] == "Requests spend 86% of their time in the queue, where 20 are waiting now"


def test_a_concern_names_reasons_and_counts() -> None:
    now = statistics(failures={"BACKEND": 3, "REJECTED": 9, "CANCELED": 2})
    assert row_of(now, statistics())["concern"] == "12 of 14 requests failed in the last 10 s: REJECTED 9, BACKEND 3"
    one = statistics(refusals={"UNAVAILABLE": 1})
    assert row_of(one, statistics())["concern"] == "1 request was refused in the last 10 s: UNAVAILABLE 1"


def test_the_worst_come_first_and_versions_by_number() -> None:
    states = [IndexEntry(name, version, "READY") for name, version in (("b", "10"), ("b", "9"), ("a", "1"))]
    states += [IndexEntry("z", "", "UNAVAILABLE", "broken"), IndexEntry("c", "1", "LOADING"), IndexEntry("untried")]
    known = [statistics(one.name, one.version) for one in states[:3]]
    found = ordered(rows(Reading(states, {"z": "broken"}, known, {}, 1.0)))
    assert [(row["name"], row["version"]) for row in found] == [
        ("z", ""),
        ("c", "1"),
        ("a", "1"),
        ("b", "9"),
        ("b", "10"),
    ]


def test_a_model_that_failed_to_load_anew_says_so_once_for_all_its_versions() -> None:
    states = [IndexEntry("m", "1", "READY"), IndexEntry("m", "2", "UNAVAILABLE", "no memory")]
    found = list(rows(Reading(states, {"m": "version 2: no memory"}, [statistics("m", "1")], {}, 1.0)))
    assert [(row["version"], row["level"], row["reason"]) for row in found] == [
        ("1", 0, "version 2: no memory"),
        ("2", 0, "no memory"),
    ]


def test_models_of_two_namespaces_have_each_their_past() -> None:
    mine, yours = statistics(labels={"namespace": "/mine"}), statistics(labels={"namespace": "/yours"})
    then = {key_of(mine): mine, key_of(yours): yours}
    now = statistics(labels={"namespace": "/mine"}, execution_count=4, inference_count=8, batch_stats=batches(_2=4))
    found = list(rows(Reading([READY], {}, [now, yours], then, 2.0)))
    assert [(row["namespace"], row["lately"]["batch"]) for row in found] == [("/mine", 2), ("/yours", None)]


def test_what_a_models_code_says_is_cut() -> None:
    row = row_of(None, None, IndexEntry("m", "1", "UNAVAILABLE", "x" * 10**6))
    assert len(row["reason"]) == MAX_TEXT
    many = statistics(refusals={f"R{one}": 1 for one in range(1000)})
    assert len(json.dumps(row_of(many, statistics()))) < 4000
