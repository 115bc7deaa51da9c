"""One script inside our server sees what it saw inside the real one."""

from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.in_process import script
from tests.conformance.in_process.record_in_process import record
from tests.conformance.recording import read_record

from atoll import tritonserver

RECORDED = read_record("in_process")

OTHERWISE = {
    # Whatever is served is listed; the real server lists what lies in a repository, and forgets the others.
    "register: models": ["add", "count", "extra", "made", "named", "text"],
    "unregister: models": ["add", "extra", "made"],
    "mapping: models": ["add", "alias", "count", "extra", "made", "other", "text"],
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    answers: dict[str, Any] = script.run(tritonserver, tmp_path_factory.mktemp("in_process") / "models")
    return answers


def says_more(expected: Any, got: Any) -> bool:
    """An error of the same class, whose text contains the expected one."""
    both = isinstance(expected, dict) and isinstance(got, dict) and "error" in expected
    return both and expected["error"] == got.get("error") and expected["text"] in got["text"]


def test_every_question_has_a_record(answers: dict[str, Any]) -> None:
    assert list(answers) == list(RECORDED)


@pytest.mark.parametrize("question", [one for one in RECORDED if one not in OTHERWISE])
def test_the_answer_is_that_of_the_real_server(answers: dict[str, Any], question: str) -> None:
    expected, got = RECORDED[question], answers[question]
    assert says_more(expected, got) or expected == got


@pytest.mark.parametrize("question", OTHERWISE)
def test_the_answer_differs_as_the_table_says(answers: dict[str, Any], question: str) -> None:
    assert answers[question] == OTHERWISE[question] != RECORDED[question]


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_answers(tmp_path: Path) -> None:
    assert ask_again(record, tmp_path) == RECORDED
