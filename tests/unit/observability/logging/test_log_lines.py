"""How log lines look, and that nothing that somebody says can be taken for a line."""

import json
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.observability.logging.extras import about, about_all, naming, report
from atoll.observability.logging.lines import Block, JsonFormatter, LineFormatter, escaped, json_line, table, utc_time

DEFAULT = re.compile(r"([IWE])(\d{4} \d\d:\d\d:\d\d\.\d{6}) (\d+) place\.py:7\] (.*)", re.DOTALL)
ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) ([IWE]) (\d+) place\.py:7\] (.*)", re.DOTALL)


def record(text: object, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("atoll").makeRecord("atoll", level, "/x/place.py", 7, text, arguments, None, extra=extra)
    made.created = 1795223788.25
    return made


def failed(text: str) -> logging.LogRecord:
    made = record("failed")
    try:
        raise ValueError(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.mark.parametrize(
    ("level", "severity"), [(5, "I"), (10, "I"), (20, "I"), (30, "W"), (40, "E"), (50, "E")], ids=str
)
def test_both_formats_have_the_real_servers_form(level: int, severity: str) -> None:
    line = DEFAULT.fullmatch(LineFormatter().format(record("hello %d", 5, level=level)))
    assert line is not None
    assert (line[1], line[2], line[4]) == (severity, "1121 01:16:28.250000", '"hello 5"')
    line = ISO.fullmatch(LineFormatter(iso8601=True).format(record("hello", level=level)))
    assert line is not None
    assert (line[1], line[2], line[4]) == ("2026-11-21T01:16:28Z", severity, '"hello"')


def test_texts_are_escaped_as_json_strings_are() -> None:
    text = 'a\n\r\t\b\f\v\0\x1b[31m \\ " é / <'
    assert escaped(text) == 'a\\n\\r\\t\\b\\f\\u000B\\u0000\\u001B[31m \\\\ \\" é / <'


def test_what_terminals_and_readers_of_lines_break_at_is_escaped_too() -> None:
    assert escaped("\x7f\x85\x9b\u2028\u2029") == "\\u007F\\u0085\\u009B\\u2028\\u2029"


def test_no_text_is_shown_in_another_order_than_it_stands_in() -> None:
    """A terminal turns what is between such characters round: a request's id could look like what follows it."""
    turns = "\u061c\u200e\u200f\u202a\u202e\u2066\u2069"
    assert escaped(turns) == "\\u061C\\u200E\\u200F\\u202A\\u202E\\u2066\\u2069"
    assert not any(one in json_line({"path": turns}) for one in turns)
    assert json.loads(json_line({"path": turns})) == {"path": turns}
    assert escaped("שלום, مرحبا, 👩‍🚀") == "שלום, مرحبا, 👩‍🚀"


@given(st.text())
def test_escaped_text_is_one_line_and_says_the_same(text: str) -> None:
    line = escaped(text)
    assert len(line.splitlines()) <= 1
    assert line.isprintable() or not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in line)
    assert json.loads(f'"{line}"') == text


@given(st.text(), st.text(max_size=20))
def test_no_text_makes_a_second_line(text: str, request_id: str) -> None:
    for formatter in (LineFormatter(), LineFormatter(iso8601=True), JsonFormatter()):
        line = formatter.format(record("%s", text, **about(request_id, "")))
        assert len(line.splitlines()) == 1
        line.encode()


def test_a_traceback_never_begins_where_a_line_begins() -> None:
    forged = 'no\nE1121 01:16:28.250000 1 server.py:1] "all is lost"\r\x1b[2J'
    lines = LineFormatter().format(failed(forged)).split("\n")
    assert DEFAULT.fullmatch(lines[0])
    assert len(lines) > 3
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[1] == "    Traceback (most recent call last):"
    assert "\x1b" not in "".join(lines)


def test_reports_for_people_keep_their_lines() -> None:
    first, others = report("wrong:\n  a line\x1b\n  another")
    lines = LineFormatter().format(record("it is %s", first, **others)).split("\n")
    assert lines[0].endswith('] "it is wrong:"')
    assert lines[1:] == ["      a line\\u001B", "      another"]
    assert (
        json.loads(JsonFormatter().format(record("it is %s", first, **others)))["detail"] == "  a line\x1b\n  another"
    )
    assert report("one line\n") == ("one line", {})


def test_unescaped_where_that_is_switched_off() -> None:
    line = LineFormatter(escape=False).format(record('a\n"b"'))
    assert line.endswith('] a\n"b"')
    assert LineFormatter(escape=False).format(failed("why\nnot")).endswith("ValueError: why\nnot")


@pytest.mark.parametrize(
    ("text", "extra", "expected"),
    [
        ("hello", about("me", "m", "1"), '"[request id: me] [m:1] hello"'),
        ("hello", about("me", "m"), '"[request id: me] [m] hello"'),
        ("hello", about("me", ""), '"[request id: me] hello"'),
        ("hello", about("", "m", "1"), '"[request id: <id_unknown>] [m:1] hello"'),
        ("[request id: me] hello", about("me", "m", "1"), '"[request id: me] [m:1] hello"'),
        ("hello", about_all(["a", "", "c"], "m", "1"), '"[request id: a, <id_unknown>, c] [m:1] hello"'),
        (
            "hello",
            about_all(map(str, range(10)), "m", "1"),
            '"[request id: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more] [m:1] hello"',
        ),
        ("hello", about('x"\n', 'm"\n', "\x1b"), '"[request id: x\\"\\n] [m\\"\\n:\\u001B] hello"'),
        ("hello", {"model": "m", "version": "1"}, '"[m:1] hello"'),
    ],
    ids=str,
)
def test_the_id_stands_before_the_text(text: str, extra: dict[str, str], expected: str) -> None:
    assert LineFormatter().format(record(text, **extra)).endswith(f"] {expected}")


def test_a_table_keeps_its_lines_and_its_cells_are_one_line_each() -> None:
    made = table(("Model", "Status"), [("m", "failed:\nE1121 x"), ("n\x1b", "READY")])
    lines = LineFormatter().format(record("%s", made)).split("\n")
    assert DEFAULT.fullmatch(lines[0])
    assert DEFAULT.fullmatch(lines[0])[4] == ""  # type: ignore[index]
    assert all(line[0] in "+|" for line in lines[1:])
    assert len(lines) == 7
    assert "failed:\\nE1121 x" in lines[4]
    assert "\\u001B" in lines[5]


def test_only_a_block_keeps_its_lines() -> None:
    assert LineFormatter().format(record("%s", "a\nb")).endswith('"a\\nb"')
    assert LineFormatter().format(record("%s", Block("a\nb"))).endswith("] \na\nb")


def test_json_has_everything_in_members() -> None:
    line = JsonFormatter().format(record("[m_0] hello", level=logging.DEBUG, instance="m_0", **about("me", "m", "2")))
    document = json.loads(line)
    assert document.pop("pid") > 0
    assert document == {
        "time": "2026-11-21T01:16:28.250000Z",
        "level": "verbose",
        "file": "place.py",
        "line": 7,
        "message": "hello",
        "request_id": "me",
        "model": "m",
        "version": "2",
        "instance": "m_0",
    }
    document = json.loads(JsonFormatter().format(failed("why")))
    assert document["exception"].endswith("ValueError: why")
    assert document["level"] == "info"


@pytest.mark.parametrize(("versions", "member"), [((), {}), ([3], {"version": "3"}), ([1, 2], {})], ids=str)
def test_a_line_that_names_its_model_names_it_once(versions: list[int], member: dict[str, str]) -> None:
    made = record("loaded 'm'", **naming("m", versions))
    assert LineFormatter().format(made).endswith("] \"loaded 'm'\"")
    document = json.loads(JsonFormatter().format(made))
    assert document["message"] == "loaded 'm'"
    assert {key: document[key] for key in document.keys() & {"model", "version"}} == {"model": "m", **member}


@given(st.floats(min_value=0, max_value=4e9))
def test_times_are_of_one_form(seconds: float) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", utc_time(seconds))
