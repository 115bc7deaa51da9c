"""Counts, means and percentiles, and which traces are shown."""

from math import ceil

from hypothesis import given, settings, strategies

from atoll.observability.timeline.requests import Stage, TracedRequest, TraceTree
from atoll.observability.timeline.selection import Counts, Wanted, selected
from atoll.observability.timeline.summary import MAX_EXACT, MAX_MODELS, MAX_SPANS, Durations, Summary

durations = strategies.lists(strategies.integers(0, 10**12), min_size=1, max_size=40)


def trace(id: int, ns: int = 1, model: str = "m", request_id: str = "", version: str = "1") -> TraceTree:
    request = TracedRequest(id=id, model=model, version=version, request_id=request_id, start_ns=1, end_ns=1 + ns)
    return TraceTree(((0, request),))


@given(durations, strategies.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_of_the_nearest_rank(given_: list[int], part: float) -> None:
    found = Durations()
    for ns in given_:
        found.add(ns)
    assert found.quantile(part) == sorted(given_)[ceil(part * len(given_)) - 1]
    assert (found.count, found.mean) == (len(given_), sum(given_) // len(given_))


@settings(max_examples=8)
@given(durations)
def test_of_very_many_they_are_within_one_percent(given_: list[int]) -> None:
    found = Durations()
    many = given_ * (MAX_EXACT // len(given_) + 1)
    for ns in many:
        found.add(ns)
    for part in (0.5, 0.99):
        exact = sorted(many)[ceil(part * len(many)) - 1]
        assert abs(found.quantile(part) - exact) <= exact * 0.01 + 1
    assert found.count == len(many)


def test_of_none_there_is_nothing() -> None:
    assert (Durations().mean, Durations().quantile(0.5)) == (0, 0)


def test_what_is_below_zero_counts_as_nothing() -> None:
    found = Durations()
    found.add(-5)
    assert (found.count, found.total, found.quantile(0.5)) == (1, 0, 0)


def test_a_model_has_its_stages_in_order_and_its_spans_behind_them() -> None:
    summary = Summary()
    stages = (Stage("send", 8, 9), Stage("queue", 1, 3))
    spans = (Stage("tokenize", 4, 6), Stage("tokenize", 6, 7), Stage("embed", 7, 8))
    one = TracedRequest(id=1, model="m", version="10", start_ns=1, end_ns=9, stages=stages, spans=spans)
    summary.add(TraceTree(((0, one), (1, TracedRequest(id=2, model="m", version="9", start_ns=1, end_ns=2)))))
    first, second = summary.models()
    assert [(first.model, first.version), (second.model, second.version)] == [("m", "9"), ("m", "10")]
    totals = {name: one.total for name, one in second.stages.items()}
    assert list(totals.items()) == [("request", 8), ("queue", 2), ("send", 1), ("embed", 1), ("tokenize", 3)]


def test_models_and_spans_without_end_do_not_fill_the_memory() -> None:
    summary = Summary()
    for number in range(MAX_MODELS + 3):
        summary.add(trace(1, model=str(number)))
    assert (len(summary.models()), summary.left_out) == (MAX_MODELS, 3)
    summary = Summary()
    spans = tuple(Stage(str(number), 1, 2) for number in range(1000))
    summary.add(TraceTree(((0, TracedRequest(id=1, model="m", start_ns=1, end_ns=2, spans=spans)),)))
    assert len(summary.models()[0].stages) < MAX_SPANS + 16


@given(strategies.lists(strategies.integers(1, 9), max_size=20), strategies.integers(1, 6))
def test_the_slowest_are_the_slowest_and_of_equal_ones_the_first(given_: list[int], most: int) -> None:
    counts = Counts()
    found = selected((trace(at, ns) for at, ns in enumerate(given_)), Wanted(slowest=most), counts)
    expected = sorted(enumerate(given_), key=lambda one: (-one[1], one[0]))[:most]
    assert [(one.root.id, one.root.duration_ns) for one in found] == expected
    assert (counts.read, counts.matched, counts.shown) == (len(given_), len(given_), len(expected))


def test_what_is_asked_for_must_be_true_altogether() -> None:
    given_ = [trace(1, model="a", request_id="x"), trace(2, model="b", request_id="x"), trace(3, model="a")]

    def ids(**wanted: object) -> list[int]:
        return [one.root.id for one in selected(given_, Wanted(**wanted), Counts())]  # type: ignore[arg-type]

    assert ids() == [1, 2, 3]
    assert ids(models=frozenset({"a"})) == [1, 3]
    assert ids(models=frozenset({"a"}), request_ids=frozenset({"x"})) == [1]
    assert ids(ids=frozenset({2, 3})) == [2, 3]
    assert ids(limit=2) == [1, 2]
