"""What is drawn fits, can be read, and does nothing to a terminal, whatever the file says."""

import json
import re
import unicodedata
from pathlib import Path

from hypothesis import given, settings, strategies

from atoll.observability.timeline.assembly import Skipped, assemble
from atoll.observability.timeline.documents import trace_document
from atoll.observability.timeline.drawing import MAX_ROWS, Style, draw
from atoll.observability.timeline.entries import read_entries
from atoll.observability.timeline.requests import STAGES, NotedTensor, Stage, TracedRequest, TraceTree
from atoll.observability.timeline.text import duration, fitted, shown, width

RECORDED = Path(__file__).parent / "recorded"
COLOUR = re.compile(r"\x1b\[\d{1,2}m")

spans = strategies.lists(
    strategies.builds(Stage, strategies.text(), strategies.integers(1, 2**64), strategies.integers(1, 2**64)),
    max_size=3,
)
stages = strategies.lists(
    strategies.builds(
        Stage, strategies.sampled_from(STAGES), strategies.integers(1, 2**64), strategies.integers(1, 2**64)
    ),
    max_size=4,
)
tensors = strategies.lists(
    strategies.builds(NotedTensor, *[strategies.text()] * 5, strategies.integers(0, 9)), max_size=2
)
drawn = strategies.builds(
    TracedRequest,
    id=strategies.integers(1, 2**64),
    model=strategies.text(max_size=80),
    version=strategies.text(max_size=9),
    request_id=strategies.text(max_size=80),
    start_ns=strategies.integers(1, 2**64),
    end_ns=strategies.integers(1, 2**64),
    stages=stages.map(tuple),
    spans=spans.map(tuple),
    tensors=tensors.map(tuple),
)
traces = strategies.lists(strategies.tuples(strategies.integers(1, 30), drawn), min_size=1, max_size=4).map(
    lambda made: TraceTree(tuple((depth if at else 0, one) for at, (depth, one) in enumerate(made)))
)
styles = strategies.builds(
    Style,
    columns=strategies.integers(40, 200),
    colours=strategies.booleans(),
    ascii_only=strategies.booleans(),
    tensors=strategies.booleans(),
)


@settings(max_examples=50)
@given(traces, styles)
def test_no_line_is_too_wide_or_moves_a_cursor(trace: TraceTree, style: Style) -> None:
    for line in draw(trace, style):
        text = COLOUR.sub("", line) if style.colours else line
        assert width(text) <= style.columns
        assert text.isprintable()
        assert not style.ascii_only or text.isascii()
        assert not any(unicodedata.category(one).startswith(("C", "Z")) and one != " " for one in text)


@given(strategies.text(), strategies.booleans())
def test_a_shown_text_has_only_what_has_a_form(text: str, ascii_only: bool) -> None:
    found = shown(text, ascii_only=ascii_only)
    assert all(one == " " or unicodedata.category(one)[0] in "LMNPS" for one in found)
    assert found.isascii() or not ascii_only


def test_marks_that_turn_the_order_of_text_are_escapes() -> None:
    assert shown("a\u202eb\u2066c\x1b[31m\x07\u200b\ud800\x9b") == r"a\u202eb\u2066c\x1b[31m\x07\u200b\ud800\x9b"
    assert shown("größe 例え") == "größe 例え"
    assert shown("größe", ascii_only=True) == r"gr\xf6\xdfe"


@given(strategies.text(), strategies.integers(0, 60))
def test_a_fitted_text_is_as_wide_as_it_is_to_be(text: str, columns: int) -> None:
    assert width(fitted(shown(text), columns)) == columns


def test_wide_letters_count_as_two() -> None:
    assert fitted("例え例え", 5) == "例え…"
    assert width("例え") == 4


@given(strategies.integers(-(2**64), 2**64))
def test_a_duration_is_short_and_of_the_right_size(ns: int) -> None:
    text = duration(ns)
    assert len(text) <= 11
    number, unit = text.split(" ")
    sizes = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9, "d": 86400e9}
    assert abs(float(number) * sizes[unit] - ns) <= abs(ns) * 0.006
    assert unit == "d" or abs(float(number)) < 1000


def test_durations_have_three_figures() -> None:
    figures = [
        0,
        999,
        1_000,
        9_996,
        99_960,
        999_499,
        999_500,
        12_345_678,
        999_600_000,
        61_000_000_000,
        7_200_000_000_000,
    ]
    assert [duration(ns) for ns in figures] == [
        *("0 ns", "999 ns", "1.00 us", "10.0 us", "100 us", "999 us", "1.00 ms", "12.3 ms", "1.00 s", "61.0 s"),
        "120 min",
    ]


def recorded(name: str) -> TraceTree:
    [tree] = assemble(read_entries([(RECORDED / name).read_bytes()]), Skipped(), file=name)
    return tree


def test_an_ensemble_is_drawn_as_a_timeline() -> None:
    lines = draw(recorded("ensemble.json"), Style(columns=80, ascii_only=True))
    assert (
        "\n".join(lines)
        == """\
trace 6, steps version 1, request id whole, 3 requests made for it       1.75 ms
                           0                    876 us         1.75 ms
  receive                  |                                             4.95 us
  echo version 1 (trace 7)   ===============                              564 us
    queue                    ##                                          30.8 us
    compute input             ##                                         18.2 us
    compute infer              #######                                    252 us
    compute output                   #######                              250 us
  calls version 1 (trac...             ===============================   1.23 ms
    queue                              |                                 17.3 us
    compute input                      ##                                16.9 us
    compute infer                       ##################                715 us
    echo version 1 (tra...                   ==========                   337 us
      queue                                   ##                         41.7 us
      compute input                            |                         13.2 us
      compute infer                            #####                      159 us
      compute output                               ####                   111 us
    compute output                                       #############    468 us
  send                                                       |           6.73 us"""
    )


def test_a_wait_that_began_before_the_request_points_to_the_left() -> None:
    wait = draw(recorded("decoupled.json"), Style(ascii_only=True))[2]
    assert wait.split() == ["wait", "and", "read", "<", "27.2", "ms"]


def test_a_models_spans_are_indented_by_what_they_lie_in() -> None:
    spans = (Stage("outer", 10, 90), Stage("inner", 20, 50), Stage("next", 60, 80), Stage("after", 95, 99))
    request = TracedRequest(
        id=1, model="m", start_ns=1, end_ns=100, stages=(Stage("compute infer", 5, 99),), spans=spans
    )
    labels = [line[:18].rstrip() for line in draw(TraceTree(((0, request),)), Style(ascii_only=True))[2:]]
    assert labels == ["  compute infer", "    outer", "      inner", "      next", "    after"]


def test_a_trace_with_very_many_rows_says_what_is_left_out() -> None:
    one = TracedRequest(id=1, model="m", start_ns=1, end_ns=100)
    lines = draw(TraceTree(tuple((min(at, 1), one) for at in range(MAX_ROWS + 8))), Style())
    assert "7 more rows are left out" in lines[-1]
    assert len(lines) == MAX_ROWS + 3


def test_a_trace_without_moments_is_drawn_too() -> None:
    tensor = NotedTensor("TENSOR_QUEUE_INPUT", "IN", "INT32", "2", "1,2", 0)
    lines = draw(TraceTree(((0, TracedRequest(id=4, tensors=(tensor,))),)), Style(tensors=True))
    assert lines[1:] == ["  input IN INT32 [2] = 1,2", "  no moments are noted of it"]


@settings(max_examples=20)
@given(traces)
def test_its_document_is_one_line_without_anything_that_acts(trace: TraceTree) -> None:
    text = json.dumps(trace_document(trace))
    assert text.isascii()
    assert text.isprintable()
