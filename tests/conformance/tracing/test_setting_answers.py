"""Trace settings: what Atoll answers, compared with what the real server was seen to answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again, skip_unless_all_is_asked
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.recording import read_record
from tests.conformance.tracing.record_tracing import record
from tests.conformance.tracing.setting_questions import ask_grpc, ask_http, write_models

RECORDED = read_record("tracing")
MAY_DIFFER = ("type",)  # of errors: the real server labels some of its JSON documents text/plain


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("tracing") / "models")


@pytest.fixture(scope="module")
def without_file(repository: Path) -> Iterator[ServerProcess]:
    with start_atoll(repository, repository.parent / "log1") as server:
        yield server


@pytest.fixture(scope="module")
def with_file(repository: Path) -> Iterator[ServerProcess]:
    file = f"--trace-config=triton,file={repository.parent / 'trace.json'}"
    with start_atoll(repository, repository.parent / "log2", file) as server:
        yield server


def comparable(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = []
    for one in answers:
        wrong = isinstance(one.get("answer"), dict) and "error" in one["answer"]
        kept.append({key: value for key, value in one.items() if not (wrong and key in MAY_DIFFER)})
    return kept


def test_settings_without_a_file_are_answered_as_the_real_server_does(without_file: ServerProcess) -> None:
    expected = comparable(RECORDED["settings_without_a_file"])
    for wanted, got in zip(expected, comparable(ask_http(without_file, "")), strict=True):
        assert got == wanted


def test_settings_are_answered_as_the_real_server_does(with_file: ServerProcess, repository: Path) -> None:
    expected = comparable(RECORDED["settings"])
    for wanted, got in zip(
        expected, comparable(ask_http(with_file, str(repository.parent / "trace.json"))), strict=True
    ):
        assert got == wanted


def test_settings_over_grpc_are_answered_as_the_real_server_does(with_file: ServerProcess, repository: Path) -> None:
    for wanted, got in zip(
        RECORDED["settings_over_grpc"], ask_grpc(with_file, str(repository.parent / "trace.json")), strict=True
    ):
        assert got == wanted


@pytest.mark.slow
def test_the_real_server_still_answers_so(tmp_path: Path) -> None:
    skip_unless_all_is_asked()
    assert ask_again(record, tmp_path) == RECORDED
