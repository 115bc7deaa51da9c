"""Queues with rules: what becomes of requests at Atoll, compared with what the real server was seen to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.asking_again import ask_again, skip_unless_all_is_asked
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.queues.examining import examine, write_models
from tests.conformance.queues.record_queues import record
from tests.conformance.queues.scenarios import SCENARIOS
from tests.conformance.recording import read_record

RECORDED = read_record("queues")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("queues") / "models")


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[ServerProcess]:
    with start_atoll(repository, repository.parent / "log") as server:
        yield server


def test_each_scenario_has_one_record() -> None:
    assert list(RECORDED) == list(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_answers_are_those_of_the_real_server(served: ServerProcess, repository: Path, name: str) -> None:
    assert examine(served, repository, name) == RECORDED[name]


@pytest.mark.slow
def test_the_real_server_still_answers_so(tmp_path: Path) -> None:
    skip_unless_all_is_asked()
    assert ask_again(record, tmp_path) == RECORDED
