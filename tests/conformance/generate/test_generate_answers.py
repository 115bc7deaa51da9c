"""The generate endpoints: Atoll's answers compared with those of the real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import expect_alike, http_differences
from tests.conformance.generate import generate_questions
from tests.conformance.generate.generate_repository import write_repository
from tests.conformance.generate.record_generate import record, talk
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record

RECORDED = read_record("generate")["answers"]
WIRE = read_record("generate")["wire"]
QUESTIONS = {one.name: one for one in generate_questions.questions()}

TWICE = {
    f"text: {title}{form}": wanted
    for form in ("", ", as a stream")
    for title, wanted in (
        ("an input twice", {"inputs": {"text_input": ["object", [1], ["b"]]}}),
        ("a parameter twice", {"parameters": {"x": 2}}),
    )
}
"""Of a name that stands twice in a JSON object the last counts, as in all of Atoll's JSON; there the first, or none."""

SEEN = {"sequence_id": "correlation", "sequence_start": "flags", "sequence_end": "flags"}
WRONG = ("sequence_id -1", "sequence_id 1.5", "sequence_start 1", "sequence_end 'x'")
FLAGS = {"sequence_start": 1, "sequence_end": 2}
SEQUENCES = {
    f"text: {nested}{name} {value!r}": {SEEN[name]: FLAGS.get(name, value), "parameters": {}}
    for nested in ("", "nested ")
    for name, value in generate_questions.SEQUENCES
    if f"{name} {value!r}" not in WRONG
} | {"sequence: a sequence": {"correlation": 5, "flags": 1}}
"""The parameters of a sequence are told the model as that, and can be used; there they are parameters like any others,
and a model with a sequence batcher cannot be asked to generate at all."""

REFUSED = {
    f"text: {nested}{name}": f"Unable to parse '{name.partition(' ')[0]}': attempt to access JSON"
    for nested in ("", "nested ")
    for name in WRONG
}
"""So they must be of the right kind, as in a request to infer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("generate")
    with start_atoll(write_repository(folder / "models"), folder / "log") as server:
        yield server


def test_each_question_has_one_name_and_one_record() -> None:
    assert [one.name for one in generate_questions.questions()] == list(RECORDED)
    assert list(WIRE) == [name for name, _ in generate_questions.wire()]


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name not in {**TWICE, **SEQUENCES, **REFUSED}])
def test_the_answer_is_that_of_the_real_server(server: ServerProcess, name: str) -> None:
    found = http_differences(RECORDED[name], as_record(ask_http(server, QUESTIONS[name])))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize(("name", "request_"), list(generate_questions.wire()), ids=list(WIRE))
def test_a_stream_is_the_real_servers_byte_by_byte(server: ServerProcess, name: str, request_: bytes) -> None:
    expected, got = (_same_order(one) for one in (WIRE[name], talk(server, request_).decode()))
    assert got == expected


def _same_order(text: str) -> str:
    """Where the answer is no stream, the connection's header stands before its length, or behind it."""
    return re.sub(r"(Content-Length: \d+\r\n)(Connection: close\r\n)", r"\2\1", text)


@pytest.mark.parametrize("name", [*TWICE, *SEQUENCES])
def test_the_answer_differs_as_the_table_says(server: ServerProcess, name: str) -> None:
    answer = ask_http(server, QUESTIONS[name])
    assert http_differences(RECORDED[name], as_record(answer)), "no longer different: take it out of the table"
    wanted = (TWICE | SEQUENCES)[name]
    seen = json.loads(json.loads(answer.body.removeprefix(b"data: "))["SEEN"])
    assert {key: seen[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_of_a_sequence_is_refused(server: ServerProcess, name: str) -> None:
    answer = ask_http(server, QUESTIONS[name])
    assert RECORDED[name]["status"] == 200, "no longer different: take it out of the table"
    assert (answer.status, REFUSED[name] in answer.error) == (500, True)


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    now = ask_again(record, tmp_path)
    expect_alike(RECORDED, now["answers"])
    assert now["wire"] == WIRE
