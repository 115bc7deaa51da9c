"""Spans of records: whatever was noted, they are one tree, with ids of their own, each within its parent's time."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing import record as records
from atoll.observability.tracing.context import TraceContext
from atoll.observability.tracing.entries import entries
from atoll.observability.tracing.record import Execution, Part, Record
from atoll.observability.tracing.spans import MAX_EVENTS, Span, spans
from atoll.observability.tracing.trace import RequestTrace
from atoll.request import ModelSpan, Timeline

BEGIN = 10**12
CONTEXT = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def record(context: TraceContext | None = None) -> Record:
    numbers = count(1)
    return Record(
        timestamps=True,
        tensors=False,
        context=context,
        next_id=lambda: next(numbers),
        collect=lambda record: None,
        trace_id=5,
    )


def begin(whole: Record, parent: Part | None = None, name: str = "m") -> Part:
    part = whole.begin(parent, name)
    assert part is not None
    return part


def ran(part: Part, start: int = BEGIN, compute: bool = True) -> None:
    part.model = (part.asked, "1")
    stamps = part.timeline = Timeline()
    stamps.request_start, stamps.queue_start = start, start + 1
    if compute:
        part.execution = Execution("m_0_0", 4, 2)
        stamps.compute_start, stamps.compute_input_end = start + 2, start + 3
        stamps.compute_output_start, stamps.compute_end = start + 4, start + 5
    stamps.request_end = start + 6


def named(found: list[Span], name: str) -> Span:
    [one] = [span for span in found if span.name == name]
    return one


def own(*noted: ModelSpan) -> list[Span]:
    """The spans that are made of a model's own."""
    whole = record()
    part = begin(whole)
    ran(part)
    part.note(noted)
    found = spans(whole)
    return [named(found, "compute"), *found[5:]]


def test_the_clients_span_is_the_parent_of_the_first() -> None:
    whole = record(CONTEXT)
    ran(begin(whole))
    root = spans(whole)[0]
    assert (f"{root.parent:016x}", root.parent_is_remote) == (CONTEXT.parent_id, True)
    assert not any(span.parent_is_remote for span in spans(whole)[1:])


def test_what_a_model_hands_on_names_the_span_of_its_work() -> None:
    whole = record(TraceContext(CONTEXT.traceparent, "a=b"))
    part = begin(whole)
    ran(part)
    model = named(spans(whole), "m")
    assert RequestTrace(whole.context, part).text == (
        f'{{"traceparent":"00-{5:032x}-{model.id:016x}-01","tracestate":"a=b"}}'
    )


def test_a_models_own_spans_are_below_compute_in_the_order_of_their_beginning() -> None:
    compute, outer, inner = own(ModelSpan("inner", 3, 4, parent=1, error="bad"), ModelSpan("outer", 2, 5))
    assert (outer.name, outer.parent) == ("outer", compute.id)
    assert (inner.name, inner.parent, inner.error) == ("inner", outer.id, "bad")


def test_spans_that_are_noted_in_two_turns_keep_their_parents() -> None:
    whole = record()
    part = begin(whole)
    ran(part)
    for turn in ("first", "second"):
        part.note([ModelSpan(turn, 2, 5), ModelSpan(f"in {turn}", 3, 4, parent=0)])
    found = spans(whole)
    for turn in ("first", "second"):
        assert named(found, f"in {turn}").parent == named(found, turn).id


def test_spans_of_a_request_that_was_not_computed_are_below_its_model() -> None:
    whole = record()
    part = begin(whole)
    ran(part, compute=False)
    part.note([ModelSpan("own", 2, 3)])
    found = spans(whole)
    assert [span.name for span in found] == ["InferRequest", "m", "own"]
    assert named(found, "own").parent == named(found, "m").id


def test_a_request_for_no_model_has_the_name_that_was_asked_for_and_the_error() -> None:
    whole = record()
    outer = begin(whole)
    ran(outer)
    begin(whole, outer, "nobody").refused(InvalidArgumentError("there is no 'nobody'"))
    span = named(spans(whole), "nobody")
    assert (span.parent, span.error) == (outer.span_id, "there is no 'nobody'")
    assert "triton.model_version" not in span.attributes


def test_of_a_stream_the_first_and_the_last_moments_are_events() -> None:
    whole = record()
    part = begin(whole)
    part.received("GRPC_WAITREAD_START", BEGIN)
    for number in range(1000):
        part.sent("GRPC_SEND_START", BEGIN + 1 + number)
    root = spans(whole)[0]
    assert len(root.events) == MAX_EVENTS
    assert root.events[0] == ("GRPC_WAITREAD_START", BEGIN)
    assert root.events[-1] == ("GRPC_SEND_START", BEGIN + 1000)


def test_what_a_record_notes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_TEXT", 10_000)
    whole = record()
    part = begin(whole, name="n" * 1000)
    for _ in range(1000):
        part.sent("HTTP_SEND_START", BEGIN)
        part.note([ModelSpan("x" * 100, 1, 2, attributes={"a": "b" * 100})])
    part.failed(InvalidArgumentError("e" * 20_000))
    assert whole.weight <= 10_000 + records.PART_BYTES
    assert len(part.after) + len(part.spans) < 100
    assert part.error == ""
    assert len(part.asked) == records.MAX_NAME


def test_in_a_file_a_models_own_spans_are_moments() -> None:
    whole = record()
    part = begin(whole)
    ran(part)
    part.note([ModelSpan("tokenize", BEGIN + 3, BEGIN + 4)])
    stamps = [
        (one["timestamps"][0]["name"], one["timestamps"][0]["ns"]) for one in entries(whole) if "timestamps" in one
    ]
    assert ("tokenize_START", BEGIN + 3) in stamps
    assert ("tokenize_END", BEGIN + 4) in stamps


moments = st.integers(BEGIN, BEGIN + 50)
noted = st.lists(st.builds(ModelSpan, st.text(max_size=3), moments, moments, st.integers(-2, 12)), max_size=12)
histories = st.lists(
    st.fixed_dictionaries(
        {
            "parent": st.integers(0, 20),
            "stage": st.sampled_from(["refused", "queued", "computed", "composed"]),
            "begin": st.integers(0, 100),
            "spans": st.lists(noted, max_size=2),
            "executed": st.booleans(),
            "failed": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)


def made(history: list[dict[str, Any]], context: TraceContext | None) -> Record:
    whole = record(context)
    for number, one in enumerate(history):
        part = begin(whole, whole.parts[one["parent"] % number] if number else None, f"m{number}")
        if one["stage"] != "refused":
            ran(part, BEGIN + one["begin"], compute=one["stage"] != "queued")
        part.composed = one["stage"] == "composed"
        if not one["executed"]:
            part.execution = None
        for group in one["spans"]:
            part.note(group)
        if one["failed"]:
            part.failed(ValueError("no"))
    for part in list(whole.parts):
        part.end()
    return whole


@settings(max_examples=50)
@given(histories, st.sampled_from([None, CONTEXT]))
def test_the_spans_of_any_record_are_one_tree(history: list[dict[str, Any]], context: TraceContext | None) -> None:
    whole = made(history, context)
    found = spans(whole)
    ids = [span.id for span in found]
    assert len(set(ids)) == len(ids)
    assert all(0 < one < 2**64 for one in ids)
    assert found[0].parent == (0 if context is None else int(context.parent_id, 16))
    by_id = {span.id: span for span in found}
    for span in found[1:]:
        above, seen = span, 0
        while above is not found[0]:
            above = by_id[above.parent]
            seen += 1
            assert seen <= len(found), "a circle"
    for part in whole.parts:
        assert part.span_id in by_id
    for span in found:
        assert span.start_ns <= span.end_ns
        assert [ns for _, ns in span.events] == sorted(ns for _, ns in span.events)
        if span.name in ("queue", "batch", "compute"):
            parent = by_id[span.parent]
            assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns
            assert all(span.start_ns <= ns <= span.end_ns for _, ns in span.events)
    assert sum(span.name not in ("InferRequest", "queue", "batch", "compute") for span in found) == len(
        whole.parts
    ) + sum(len(group) for one in history for group in one["spans"])


class Growing(list[ModelSpan]):
    """Of a model that notes more while its spans are looked at."""

    def __iter__(self) -> Iterator[ModelSpan]:
        yield from tuple(super().__iter__())
        self.append(ModelSpan("late", BEGIN, BEGIN))


def test_what_a_model_notes_while_its_spans_are_made_costs_nothing() -> None:
    whole = record()
    part = begin(whole)
    ran(part)
    part.spans = Growing([ModelSpan("one", BEGIN, BEGIN + 1)])
    part.end()
    assert "one" in [span.name for span in spans(whole)]


def test_nothing_is_noted_of_a_request_that_has_ended() -> None:
    whole = record()
    part = begin(whole)
    ran(part)
    part.end()
    part.note([ModelSpan("late", BEGIN, BEGIN)])
    part.sent("HTTP_SEND_START", BEGIN)
    assert not part.spans
    assert not part.after


def test_an_end_that_is_told_twice_is_one() -> None:
    collected: list[Record] = []
    whole = record()
    whole._collect = collected.append
    first = begin(whole)
    second = begin(whole, first)
    second.end()
    second.refused(ValueError("interrupted"))
    assert not collected, "the first one has not ended"
    first.end()
    first.end()
    assert collected == [whole]
    assert not second.error
    assert whole.begin(first, "m") is None
