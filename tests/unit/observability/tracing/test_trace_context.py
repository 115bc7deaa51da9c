"""The trace context of W3C: what is taken, and what is as if it had not been sent."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.observability.tracing.context import (
    MAX_MEMBERS,
    TraceContext,
    checked_parent,
    checked_state,
    context_of_text,
    read_context,
)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=size, max_size=size).filter(lambda text: text.strip("0"))


@pytest.mark.parametrize("good", [GOOD, f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-ff", f" \t{GOOD} "])
def test_a_good_parent_goes_on_as_it_came(good: str) -> None:
    assert checked_parent(good) == good.strip()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD[:-1],
        GOOD + "0",
        GOOD + "-",
        GOOD + "-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f"0-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
        "x" * 100_000,
    ],
)
def test_a_bad_parent_is_none(bad: str) -> None:
    assert checked_parent(bad) is None
    assert read_context([("traceparent", bad), ("tracestate", "a=b")]) is None


@pytest.mark.parametrize("version", ["01", "cc", "fe"])
def test_of_a_later_version_what_is_known_is_kept(version: str) -> None:
    assert checked_parent(f"{version}-{TRACE}-{PARENT}-03-what-comes") == f"00-{TRACE}-{PARENT}-01"
    assert checked_parent(f"{version}-{TRACE}-{PARENT}-02") == f"00-{TRACE}-{PARENT}-00"


@given(hexadecimal(32), hexadecimal(16), st.integers(0, 255))
def test_every_parent_by_the_rules_is_taken(trace: str, parent: str, flags: int) -> None:
    context = read_context([("traceparent", f"00-{trace}-{parent}-{flags:02x}")])
    assert context is not None
    assert (context.trace_id, int(context.traceparent[53:], 16) & 1) == (trace, flags & 1)


@given(st.text(max_size=80))
def test_whatever_comes_is_a_parent_or_none(text: str) -> None:
    assert checked_parent(text) in (None, text.strip(" \t")) or text.strip(" \t")[:2] != "00"


def test_two_parents_are_none() -> None:
    assert read_context([("traceparent", GOOD), ("traceparent", GOOD)]) is None


def test_bytes_are_no_context() -> None:
    assert read_context([("traceparent", GOOD.encode())]) is None


def test_states_of_several_headers_are_one_list() -> None:
    context = read_context([("tracestate", "a=1, b=2"), ("traceparent", GOOD), ("tracestate", ",c=3,")])
    assert context == TraceContext(GOOD, "a=1,b=2,c=3")


@pytest.mark.parametrize(
    "bad",
    ["a", "=b", "A=b", "a=b,a=c", "a=b=c", "a=\u00e9", "a=b;c=d,e", "a@b@c=d", "a" * 257 + "=b", "a=" + "b" * 257],
)
def test_a_state_that_breaks_the_rules_is_left_out_and_the_parent_stays(bad: str) -> None:
    assert checked_state([bad]) == ""
    assert read_context([("traceparent", GOOD), ("tracestate", bad)]) == TraceContext(GOOD)


def test_a_state_has_at_most_32_members() -> None:
    members = [f"k{number}=v" for number in range(MAX_MEMBERS + 1)]
    assert checked_state([",".join(members[:-1])]) == ",".join(members[:-1])
    assert checked_state([",".join(members)]) == ""


def test_a_tenant_and_its_system_are_a_key() -> None:
    assert checked_state(["0tenant@system=value with blanks"]) == "0tenant@system=value with blanks"


def test_the_text_for_models_is_a_document_of_the_headers() -> None:
    assert json.loads(TraceContext(GOOD, "a=b").text) == {"traceparent": GOOD, "tracestate": "a=b"}
    assert json.loads(TraceContext(GOOD).text) == {"traceparent": GOOD}


@given(st.text(string.printable), st.none() | st.integers() | st.just([GOOD]))
def test_what_a_model_says_is_a_context_or_none(text: str, other: object) -> None:
    assert context_of_text(text) is None
    assert context_of_text(other) is None


def test_what_a_model_was_told_it_may_say() -> None:
    context = TraceContext(GOOD, "a=b")
    assert context_of_text(context.text) == context
    assert context_of_text("[" * 10_000) is None
    assert context_of_text('{"traceparent": 5}') is None
