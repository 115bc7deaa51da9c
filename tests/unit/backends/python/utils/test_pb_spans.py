"""The spans that a model adds to its request's trace: how they nest, what is kept of them, and what is refused."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.python.utils.model_host import RecordedDelivery, received, request_to

from atoll.backends.python.utils import InferenceTrace
from atoll.backends.python.utils.span_recorder import LEFT_OUT, SpanRecorder, _innermost
from atoll.backends.python.utils.spans import NO_SPAN, Span
from atoll.model_spans import MAX_ATTRIBUTES, MAX_ERROR, MAX_NAME, MAX_SPANS, MAX_TEXT, MAX_VALUE
from atoll.request import ModelSpan


def traced() -> tuple[InferenceTrace, Callable[[], list[ModelSpan]]]:
    """A trace, and what ends its request and gives its spans."""
    recorder = SpanRecorder()
    return InferenceTrace(None, 1, recorder), lambda: [ModelSpan(*row) for row in recorder.close()]


def shape(spans: list[ModelSpan]) -> list[tuple[str, int]]:
    return [(one.name, one.parent) for one in spans]


@pytest.fixture(autouse=True)
def context_is_left_clean() -> Iterator[None]:
    assert _innermost.get() is None
    yield
    assert _innermost.get() is None


def test_spans_nest_and_have_what_they_were_given() -> None:
    trace, spans = traced()
    before = monotonic_ns()
    with trace.span("whole", {"rows": 3, "share": 0.5, "warm": True}) as whole:
        with trace.span("first") as first:
            first.set_attribute("kind", "a")
            first.set_attribute("kind", "b")
        whole.set_attribute("late", -1)
        with trace.span("second"), trace.span("in it"):
            pass
    with trace.span("after"):
        pass
    found = spans()
    assert shape(found) == [("whole", -1), ("first", 0), ("second", 0), ("in it", 2), ("after", -1)]
    assert found[0].attributes == {"rows": 3, "share": 0.5, "warm": True, "late": -1}
    assert found[1].attributes == {"kind": "b"}
    moments = [before, found[0].start_ns, found[1].start_ns, found[1].end_ns, found[2].start_ns, found[3].start_ns]
    moments += [found[3].end_ns, found[2].end_ns, found[0].end_ns, found[4].start_ns, found[4].end_ns, monotonic_ns()]
    assert moments == sorted(moments)
    assert spans() == []


def test_a_request_that_is_not_traced_gets_one_object_that_notes_nothing() -> None:
    for trace in (InferenceTrace("{}", 0), request_to().trace(), received(RecordedDelivery()).trace()):
        with trace.span("a", {"b": 1}) as outer, trace.span("c") as inner:
            assert outer is inner is NO_SPAN
            outer.set_attribute("x", 1)


def test_what_passes_through_goes_on_and_is_noted() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    trace, spans = traced()
    raised = [ValueError("no voice"), KeyError(), OddError(), asyncio.CancelledError("late"), RuntimeError("x" * 9999)]
    for error in raised:
        with pytest.raises(type(error)), trace.span("outer"), trace.span("inner"):
            raise error
    texts = [
        "ValueError: no voice",
        "KeyError",
        "OddError",
        "CancelledError: late",
        ("RuntimeError: " + "x" * 9999)[:MAX_ERROR],
    ]
    assert [one.error for one in spans()] == [text for text in texts for _ in range(2)]


def test_a_generator_that_is_not_used_up_has_not_failed() -> None:
    trace, spans = traced()

    def parts() -> Iterator[int]:
        with trace.span("parts"):
            yield from range(9)

    context = contextvars.copy_context()  # of its own: it is closed by who drops it
    generator = parts()
    assert context.run(next, generator) == 0
    context.run(generator.close)
    [one] = spans()
    assert one.error == ""


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((5,), TypeError, "a span's name must be a str, got int"),
        ((b"a",), TypeError, "got bytes"),
        (("",), ValueError, "must not be empty"),
        (("a", [("k", 1)]), TypeError, "attributes must be a dict, got list"),
        (("a", {1: 2}), TypeError, "the name of a span's attribute must be a str, got int"),
        (("a", {"": 2}), ValueError, "must not be empty"),
        (("a", {"k": None}), TypeError, "'k' must be a bool, int, float or str, got NoneType"),
        (("a", {"k": [1]}), TypeError, "got list"),
        (("a", {"k": np.zeros(2)}), TypeError, "got ndarray"),
        (("a", {"k": 1 << 63}), ValueError, "more than 64 bits"),
    ],
)
def test_wrong_arguments_are_refused_traced_or_not(arguments: Any, kind: type[Exception], text: str) -> None:
    trace, spans = traced()
    for one in (trace, InferenceTrace()):
        with pytest.raises(kind, match=text):
            one.span(*arguments)
        if len(arguments) == 2 and isinstance(arguments[1], dict):
            with one.span("right") as span, pytest.raises(kind, match=text):
                span.set_attribute(*next(iter(arguments[1].items())))
    assert all(not one.attributes for one in spans())


def test_numbers_and_texts_of_other_kinds_are_pythons() -> None:
    trace, spans = traced()
    given = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.str_("x"), "e": -(1 << 63)}
    with trace.span("a", given):
        pass
    [one] = spans()
    assert one.attributes == {"a": 0.5, "b": 3, "c": True, "d": "x", "e": -(1 << 63)}
    assert [type(value) for value in one.attributes.values()] == [float, int, bool, str, int]


def test_what_is_too_long_is_shortened_and_can_be_written() -> None:
    trace, spans = traced()
    with trace.span("n" * 999, {"k" * 999: "v" * 9999, "half": "\ud800"}):
        pass
    [one] = spans()
    assert one.name == "n" * MAX_NAME
    assert one.attributes == {"k" * 128: "v" * MAX_VALUE, "half": "?"}


def test_too_many_attributes_are_left_out() -> None:
    trace, spans = traced()
    with trace.span("a", {f"k{n}": n for n in range(50)}) as span:
        for n in range(50):
            span.set_attribute(f"k{n}", -n)
    [one] = spans()
    assert one.attributes == {f"k{n}": -n for n in range(MAX_ATTRIBUTES)}


def test_of_ten_thousand_spans_the_first_are_kept_and_the_others_counted() -> None:
    trace, spans = traced()
    with trace.span("whole"):
        for n in range(9_999):
            with trace.span(f"s{n}") as span:
                span.set_attribute("n", n)
    found = spans()
    assert [one.name for one in found] == ["whole", *(f"s{n}" for n in range(MAX_SPANS - 1)), LEFT_OUT]
    assert found[-1].attributes == {"count": 10_000 - MAX_SPANS}
    assert found[MAX_SPANS - 1].end_ns <= found[-1].start_ns <= found[-1].end_ns


def test_all_texts_together_are_bounded() -> None:
    trace, spans = traced()
    for n in range(900):
        with trace.span(f"{n}" * 60, {"text": "v" * MAX_VALUE}):
            pass
    found = spans()
    length = sum(len(one.name) + sum(len(k) + len(str(v)) for k, v in one.attributes.items()) for one in found)
    assert MAX_TEXT // 2 < length <= MAX_TEXT
    assert found[-1].name == LEFT_OUT


def test_what_is_open_at_the_end_ends_there_and_nothing_is_noted_afterwards() -> None:
    trace, spans = traced()
    before = trace.span("made before")
    with trace.span("whole") as whole:
        with trace.span("sends"):
            found = spans()
        whole.set_attribute("late", 1)
        with trace.span("after"), before:
            pass
    assert shape(found) == [("whole", -1), ("sends", 0)]
    assert found[0].attributes == {}
    assert found[0].end_ns == found[1].end_ns >= found[1].start_ns
    assert spans() == []
    assert trace.span("later") is NO_SPAN


def test_each_request_of_a_batch_has_its_own_spans() -> None:
    (one, spans_of_one), (two, spans_of_two) = traced(), traced()
    with one.span("1"), two.span("2"), one.span("1.1"), two.span("2.1"):
        pass
    assert shape(spans_of_one()) == [("1", -1), ("1.1", 0)]
    assert shape(spans_of_two()) == [("2", -1), ("2.1", 0)]


def test_a_span_is_entered_once() -> None:
    trace, spans = traced()
    span = trace.span("a")
    for _ in range(2):
        with span, span, trace.span("b"):
            pass
    assert [name for name, _ in shape(spans())] == ["a", "b", "b"]


def test_spans_that_end_in_another_order_leave_no_trace_in_the_context() -> None:
    trace, spans = traced()
    outer, inner = trace.span("outer"), trace.span("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    with trace.span("in the inner one"):
        pass
    inner.__exit__(None, None, None)
    with trace.span("alone"):
        pass
    assert shape(spans()) == [("outer", -1), ("inner", 0), ("in the inner one", 1), ("alone", -1)]


def test_spans_that_never_end_are_forgotten_with_their_request() -> None:
    def run() -> None:
        for _ in range(3):
            trace, spans = traced()
            trace.span("never ended").__enter__()
            spans()
        trace, spans = traced()
        with trace.span("later"):
            innermost = _innermost.get()
            assert innermost is not None
            assert innermost.outer is None
        assert shape(spans()) == [("later", -1)]

    contextvars.copy_context().run(run)


def test_threads_have_contexts_of_their_own() -> None:
    trace, spans = traced()

    def work(name: str) -> None:
        for _ in range(50):
            with trace.span(name), trace.span(f"{name} inner") as inner:
                inner.set_attribute("name", name)

    with trace.span("whole"):
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        inherits = threading.Thread(target=contextvars.copy_context().run, args=(work, "in it"))
        for one in (*threads, inherits):
            one.start()
        for one in (*threads, inherits):
            one.join()
    found = spans()
    assert len(found) == 1 + 5 * 100
    for one in found[1:]:
        if one.name.endswith("inner"):
            assert found[one.parent].name == one.attributes["name"]
        else:
            assert one.parent == (0 if one.name == "in it" else -1)


def test_tasks_inherit_what_is_open_where_they_were_made() -> None:
    trace, spans = traced()

    async def ask(n: int) -> None:
        with trace.span(f"ask {n}"):
            await asyncio.sleep(0)
            with trace.span(f"parse {n}"):
                await asyncio.sleep(0)

    async def execute() -> None:
        with trace.span("whole"):
            await asyncio.gather(*(ask(n) for n in range(3)))

    asyncio.run(execute())
    found = spans()
    parents = {one.name: found[one.parent].name if one.parent >= 0 else "" for one in found}
    assert parents == {"whole": ""} | {f"ask {n}": "whole" for n in range(3)} | {
        f"parse {n}": f"ask {n}" for n in range(3)
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), max_size=60))
def test_nesting_gives_the_right_parents(steps: list[tuple[int, bool, int]]) -> None:
    """Of three requests in one context: begin a span, or end any that is open, the innermost of all or not."""
    requests = [traced() for _ in range(3)]
    opened: list[tuple[int, Span, int]] = []  # request, span, number among its request's
    expected: list[list[tuple[str, int]]] = [[], [], []]

    def run() -> None:
        for which, begins, position in steps:
            if begins or not opened:
                parent = next((number for one, _, number in reversed(opened) if one == which), -1)
                number = len(expected[which])
                span = requests[which][0].span(f"{number}")
                assert isinstance(span, Span)
                span.__enter__()
                expected[which].append((f"{number}", parent))
                opened.append((which, span, number))
            else:
                opened.pop(-1 - position % len(opened))[1].__exit__(None, None, None)
        while opened:
            opened.pop()[1].__exit__(None, None, None)
        assert _innermost.get() is None

    contextvars.copy_context().run(run)
    for (_, spans), right in zip(requests, expected, strict=True):
        found = spans()
        assert shape(found) == right
        assert all(one.start_ns <= one.end_ns for one in found)
        assert all(one.parent < index for index, one in enumerate(found))


def test_a_request_that_is_made_for_this_one_adds_to_the_same_spans() -> None:
    trace, spans = traced()
    made = request_to(trace=trace)
    with trace.span("asks"), made.trace().span("of the made one"):
        pass
    assert shape(spans()) == [("asks", -1), ("of the made one", 0)]


def test_a_span_may_end_while_another_one_is_being_noted() -> None:
    """The collector of garbage closes generators at any moment, on whichever thread it runs."""
    trace, spans = traced()

    def parts() -> Iterator[int]:
        with trace.span("parts"), trace.span("inner"):
            yield 1

    def run() -> None:
        generator = parts()
        next(generator)
        assert trace.recorder is not None
        with trace.recorder._lock:
            generator.close()

    contextvars.copy_context().run(run)
    assert all(one.end_ns < monotonic_ns() for one in spans())
