"""Running ensembles: Atoll's answers compared with those of the real server."""

from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.ensembles.ensemble_running import answers, questions, write_running
from tests.conformance.ensembles.record_running import record
from tests.conformance.process import start_atoll
from tests.conformance.recording import read_record

RECORDED = read_record("ensemble_running")
_DEADLOCK = "unexpected deadlock, at least one output is not set while no more ensemble steps can be made"

OTHERWISE: dict[str, Any] = {
    "shows_both A=[1] for Y": {"Y": [2]},
    "shows_both A=[1] for Z": {"Z": [3]},
    "apart A=[1] B=[1] for Y": {"Y": [2]},
    "many_and_next A=[2] for Y": [{"Y": [10]}, {"Y": [11]}],
    "many_and_next A=[2] for Z": [{"Z": [11]}, {"Z": [12]}],
}
"""Requests that the real server fails, or leaves without answers, as it leaves out steps that are needed."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Atoll's."""
    folder = tmp_path_factory.mktemp("running")
    with start_atoll(write_running(folder / "models"), folder / "log") as server:
        return answers(server)


def test_each_question_has_one_record() -> None:
    assert list(questions()) == list(RECORDED["answers"])
    assert OTHERWISE.keys() <= questions().keys()


@pytest.mark.parametrize("name", RECORDED["answers"])
def test_the_answer_is_that_of_the_real_server(found: dict[str, Any], name: str) -> None:
    recorded, got = RECORDED["answers"][name], found["answers"][name]
    if name not in OTHERWISE:
        assert got == recorded
        return
    assert recorded["answers"] == [] if "answers" in recorded else recorded["error"].endswith(_DEADLOCK)
    values = [{key: one["values"] for key, one in each["outputs"].items()} for each in got.get("answers", [got])]
    assert (values if "answers" in got else values[0]) == OTHERWISE[name]


@pytest.mark.parametrize("name", RECORDED["counted"])
def test_the_same_is_counted(found: dict[str, Any], name: str) -> None:
    assert found["counted"][name] == RECORDED["counted"][name]


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    assert ask_again(record, tmp_path) == RECORDED
