"""Loading, unloading and listing models: Atoll's answers compared with those of the real server, in the same order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import answer_differences
from tests.conformance.process import start_atoll
from tests.conformance.record_repository import record
from tests.conformance.recording import read_record
from tests.conformance.repository_questions import MODES, ONNX, ask_all, questions, write_repository

NAMES = [(mode, question.name) for mode in MODES for question in questions(mode, ONNX)]


@dataclass(frozen=True)
class Different:
    """Atoll's answer to these questions has this status, and the text in it."""

    questions: tuple[str, ...]
    status: int | str
    text: str
    why: str


DIFFERENT = (
    Different(
        tuple(f"{when} matrix: server ready" for when in ("loaded", "overridden", "unloaded", "loaded again")),
        200,
        "",
        "A model that failed to load and was then unloaded makes nobody wait: its failure has been dealt with.",
    ),
    Different(
        ("cannot: load no_version",),
        400,
        "at least one version must be available under the version policy of model 'no_version'",
        "The text names the file as well.",
    ),
    Different(
        ("cannot: no_version: RepositoryModelLoad",),
        "INVALID_ARGUMENT",
        "at least one version must be available under the version policy of model 'no_version'",
        "The same.",
    ),
    Different(
        ('override {"max_batch_size":-1}: load matrix', 'override {"name":"other"}: load matrix'),
        400,
        "load failed for model 'matrix': version 1 is at UNAVAILABLE state: ",
        "The client is told what is wrong with its request; with the real server only the log says it.",
    ),
    Different(
        ("file ../x: load matrix", "file 1/../../x: load matrix"),
        400,
        "must stay within model directory",
        "The same.",
    ),
)
DIFFERENT_NAMES = {name: different for different in DIFFERENT for name in different.questions}
ALIKE = [(mode, name) for mode, name in NAMES if name not in DIFFERENT_NAMES]

LISTED_OTHERWISE = {
    "no_version": "the real server forgets a model without versions once it was told to load it",
    "unknown_field": "Atoll's index says why a configuration cannot be read; the real server's only that it is there",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Atoll's, by mode and question."""
    folder = tmp_path_factory.mktemp("repository")
    found = {}
    for mode, options in MODES.items():
        repository = write_repository(folder / mode, ONNX, broken=mode == "explicit")
        with start_atoll(repository, folder / f"{mode}.log", *options) as server:
            found[mode] = ask_all(server, mode, ONNX)
    return found


def differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    return answer_differences(_comparable(expected), _comparable(got))


def _comparable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without the lines of an index that differ on purpose."""
    if "messages" in answer:
        lists = [{**one, "models": _lines(one["models"])} if "models" in one else one for one in answer["messages"]]
        return {**answer, "messages": lists}
    document = json.loads(answer["body"]) if answer["body"] else None
    if isinstance(document, list):
        return {**answer, "body": json.dumps(_lines(document))}
    return dict(answer)


def _lines(index: list[dict[str, str]]) -> list[dict[str, str]]:
    return [line for line in index if line["name"] not in LISTED_OTHERWISE]


def test_each_question_has_one_record() -> None:
    assert [(mode, name) for mode, answers in read_record("repository").items() for name in answers] == NAMES
    assert set(DIFFERENT_NAMES) <= {name for _, name in NAMES}


@pytest.mark.parametrize(("mode", "name"), ALIKE)
def test_the_answer_is_that_of_the_real_server(answers: dict[str, Any], mode: str, name: str) -> None:
    found = differences(read_record("repository")[mode][name], answers[mode][name])
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", DIFFERENT_NAMES)
def test_the_answer_differs_as_the_table_says(answers: dict[str, Any], name: str) -> None:
    expected, got = read_record("repository")["explicit"][name], answers["explicit"][name]
    assert differences(expected, got), "no longer different: take it out of the table"
    assert got["status"] == DIFFERENT_NAMES[name].status
    assert DIFFERENT_NAMES[name].text in got.get("body", got.get("details"))


@pytest.mark.parametrize("name", LISTED_OTHERWISE)
def test_the_index_differs_as_the_table_says(answers: dict[str, Any], name: str) -> None:
    recorded = read_record("repository")["explicit"]
    indexes = [one for one in recorded if one.startswith("index ")]

    def lines(given: Mapping[str, Any], question: str) -> list[dict[str, str]]:
        answer = given[question]
        document = json.loads(answer["body"]) if "body" in answer else answer["messages"][0]["models"]
        return [line for line in document if line["name"] == name]

    assert any(lines(recorded, one) != lines(answers["explicit"], one) for one in indexes)


def test_the_index_says_why_a_model_failed(answers: dict[str, Any]) -> None:
    index = json.loads(answers["explicit"]["index after failures"]["body"])
    reasons = {line["name"]: (line["state"], line["reason"]) for line in index if "reason" in line}
    assert reasons == dict.fromkeys(("no_version", "unknown_field", "unreadable"), ("UNAVAILABLE", "..."))


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    recorded, now = read_record("repository"), ask_again(record, tmp_path)
    found = {(mode, name): differences(recorded[mode][name], now[mode][name]) for mode, name in NAMES}
    wrong = {" ".join(name): differences for name, differences in found.items() if differences}
    assert not wrong, json.dumps(wrong, indent=1)
