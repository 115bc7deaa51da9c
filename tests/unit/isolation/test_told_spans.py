"""What a process says of its model's spans: what the model's own recorder makes comes through, nonsense does not."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.backends.python.utils.span_recorder import SpanRecorder
from atoll.backends.python.utils.spans import make_span
from atoll.isolation import wire
from atoll.isolation.told_spans import note_spans, parse_spans
from atoll.model_spans import MAX_ATTRIBUTES, MAX_ERROR, MAX_INTEGER, MAX_KEY, MAX_NAME, MAX_SPANS, MAX_TEXT, MAX_VALUE
from atoll.request import InferenceRequest, ModelSpan

ROW = ["name", 1, 2, -1, {"a": True, "b": 1, "c": 0.5, "d": "x"}, ""]
VALUES = st.booleans() | st.integers(-(1 << 63), MAX_INTEGER) | st.floats(allow_nan=False) | st.text(max_size=1100)


class Noted:
    """Of a Trace, what spans need."""

    def __init__(self) -> None:
        self.noted: list[ModelSpan] = []

    def note(self, spans: list[ModelSpan]) -> None:
        self.noted += spans


def told(rows: Any) -> Any:
    """As it comes over the channel."""
    message = b"".join(bytes(part) for part in wire.pack(wire.RESPONSE, 1, None, facts={"spans": rows}))
    return wire.parse(memoryview(message)[wire.HEADER.size :], None).facts["spans"]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=300), st.dictionaries(st.text(min_size=1, max_size=140), VALUES)))
)
def test_what_a_recorder_makes_comes_as_it_went(made: list[tuple[str, dict[str, Any]]]) -> None:
    recorder = SpanRecorder()
    with contextlib.ExitStack() as stack:
        for name, attributes in made:
            stack.enter_context(make_span(recorder, name, attributes))
    rows = recorder.close()
    assert parse_spans(told(rows)) == [ModelSpan(*row) for row in rows]


def test_as_much_as_a_recorder_keeps_comes_through() -> None:
    recorder = SpanRecorder()
    for n in range(10_000):
        with contextlib.suppress(ValueError), make_span(recorder, f"{n}" * 99, {f"k{k}": "v" * 40 for k in range(40)}):
            raise ValueError("e" * 9999)
    rows = recorder.close()
    assert len(rows) > 50
    assert len(parse_spans(told(rows))) == len(rows)
    recorder = SpanRecorder()
    for _ in range(10_000):
        with make_span(recorder, "s", None):
            pass
    assert len(parse_spans(told(recorder.close()))) == MAX_SPANS + 1


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        "spans",
        [ROW] * (MAX_SPANS + 2),
        [5],
        [ROW[:5]],
        [[*ROW, ""]],
        [[5, *ROW[1:]]],
        [["n" * (MAX_NAME + 1), *ROW[1:]]],
        [["n", 3, 2, -1, {}, ""]],
        [["n", -1, 2, -1, {}, ""]],
        [["n", 1, MAX_INTEGER + 1, -1, {}, ""]],
        [["n", 1.5, 2, -1, {}, ""]],
        [["n", True, 2, -1, {}, ""]],
        [["n", 1, 2, 0, {}, ""]],
        [["n", 1, 2, -2, {}, ""]],
        [["n", 1, 2, None, {}, ""]],
        [["n", 1, 2, False, {}, ""]],
        [["n", 1, 2, -1, [], ""]],
        [["n", 1, 2, -1, {f"{n}": 1 for n in range(MAX_ATTRIBUTES + 1)}, ""]],
        [["n", 1, 2, -1, {"k" * (MAX_KEY + 1): 1}, ""]],
        [["n", 1, 2, -1, {"k": "v" * (MAX_VALUE + 1)}, ""]],
        [["n", 1, 2, -1, {"k": None}, ""]],
        [["n", 1, 2, -1, {"k": {}}, ""]],
        [["n", 1, 2, -1, {"k": 1 << 63}, ""]],
        [["n", 1, 2, -1, {}, None]],
        [["n", 1, 2, -1, {}, "e" * (MAX_ERROR + 1)]],
        [["n", 1, 2, -1, {"k": "v" * MAX_VALUE}, ""]] * (MAX_TEXT // MAX_VALUE),
    ],
)
def test_nonsense_is_refused(rows: Any) -> None:
    with pytest.raises(wire.WireError):
        parse_spans(told(rows))


def test_half_characters_do_not_get_into_a_trace() -> None:
    [span] = parse_spans(told([["\ud800n", 1, 2, -1, {"k\udfff": "\ud834"}, "\udc00"]]))
    assert (span.name, span.attributes, span.error) == ("?n", {"k?": "?"}, "?")


def test_spans_are_noted_for_requests_that_are_traced() -> None:
    request = InferenceRequest("m", {}, None)  # type: ignore[arg-type]  # nobody sends
    note_spans(request, {"spans": [ROW]})
    trace = Noted()
    request.trace = trace  # type: ignore[assignment]  # it is asked for nothing else
    note_spans(request, {"parameters": {}})
    assert trace.noted == []
    note_spans(request, {"spans": [ROW]})
    assert trace.noted == [ModelSpan(*ROW)]


def test_spans_are_not_remembered_as_what_may_come_again() -> None:
    facts = json.dumps({"spans": [ROW]}).encode()
    wire._parse_facts(facts)
    assert facts not in wire._facts
