"""Loading ensembles: Atoll's answers compared with those of the real server, in the same order."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again, skip_unless_all_is_asked
from tests.conformance.comparing import expect_alike, http_differences
from tests.conformance.ensembles.ensemble_loading import (
    EXPLICIT,
    LABELLED,
    classes,
    core,
    documents,
    make_moves,
    moves,
    reasons,
    write_all,
    write_few,
)
from tests.conformance.ensembles.record_ensembles import record
from tests.conformance.process import start_atoll
from tests.conformance.recording import read_record

RECORDED = read_record("ensemble_loading")

OTHERWISE = {
    "circle_2": ("circular dependency between ensembles: circle_2 -> ... -> circle_1 -> circle_2", "said each time"),
    "labels_not_there": ("output[0].label_filename", "the key is named, and the file"),
}
"""Reasons in words of our own, and why."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Atoll's."""
    folder = tmp_path_factory.mktemp("ensembles")
    root, broken = write_all(folder / "all")
    with start_atoll(root, folder / "all.log", EXPLICIT) as server:
        found = {"reasons": reasons(server, broken), "documents": documents(server)}
        found["classes"] = {name: classes(server, name) for name in LABELLED}
    root = write_few(folder / "few")
    with start_atoll(root, folder / "few.log", EXPLICIT) as server:
        found["moves"] = make_moves(server, root)
    return found


def without_newer_field(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what a later version of the real server has: the schema here is that one's."""
    return {**answer, "body": answer["body"].replace(',"max_inflight_requests":0', "")}


def test_each_question_has_one_record(answers: dict[str, Any]) -> None:
    for kind, recorded in RECORDED.items():
        if kind in answers:
            assert list(recorded) == list(answers[kind])
    assert [name.partition(" ")[2] for name in RECORDED["moves"]] == [title for title, _ in moves()]
    assert OTHERWISE.keys() <= RECORDED["reasons"].keys()


@pytest.mark.parametrize("name", RECORDED["reasons"])
def test_the_reason_is_that_of_the_real_server(answers: dict[str, Any], name: str) -> None:
    got = answers["reasons"][name]
    expected, _ = OTHERWISE.get(name, (core(RECORDED["reasons"][name]), ""))
    parts = re.split(" failed with error: |Invalid argument: ", expected)  # ours names the place between them
    assert all(part in got for part in parts), got
    if name in OTHERWISE:
        assert core(RECORDED["reasons"][name]) not in got, "no longer different: take it out of the table"


@pytest.mark.parametrize("name", RECORDED["documents"])
def test_the_document_is_that_of_the_real_server(answers: dict[str, Any], name: str) -> None:
    expected, got = RECORDED["documents"][name], answers["documents"][name]
    found = http_differences(expected, without_newer_field(got))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", RECORDED["classes"])
def test_classes_have_the_labels_that_they_have_in_the_real_server(answers: dict[str, Any], name: str) -> None:
    assert answers["classes"][name] == RECORDED["classes"][name]


@pytest.mark.parametrize("name", RECORDED["moves"])
def test_the_same_is_served_after_each_move(answers: dict[str, Any], name: str) -> None:
    expected, got = RECORDED["moves"][name], answers["moves"][name]
    assert (got["status"], got["served"]) == (expected["status"], expected["served"])


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    skip_unless_all_is_asked("two minutes")
    now = ask_again(record, tmp_path)
    assert now["moves"] == RECORDED["moves"]
    assert now["classes"] == RECORDED["classes"]
    assert {name: core(text) for name, text in now["reasons"].items()} == {
        name: core(text) for name, text in RECORDED["reasons"].items()
    }
    expect_alike(RECORDED["documents"], now["documents"])
