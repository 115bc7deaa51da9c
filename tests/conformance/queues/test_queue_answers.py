"""Queues with rules: what becomes of requests at Atoll, compared with what the real server was seen to do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.process import ServerProcess, install_real_triton, start_atoll
from tests.conformance.queues.examining import examine, write_models
from tests.conformance.queues.record_queues import read_answers, record
from tests.conformance.queues.scenarios import SCENARIOS


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("queues") / "models")


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[ServerProcess]:
    with start_atoll(repository, repository.parent / "log") as server:
        yield server


def test_each_scenario_has_one_record() -> None:
    assert list(read_answers()) == list(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_answers_are_those_of_the_real_server(served: ServerProcess, repository: Path, name: str) -> None:
    assert examine(served, repository, name) == read_answers()[name]


@pytest.mark.slow
def test_the_real_server_still_answers_so(tmp_path: Path) -> None:
    if os.environ.get("ATOLL_ASK_ORACLE") != "all":
        pytest.skip("asked with ATOLL_ASK_ORACLE=all")
    reason = install_real_triton()
    if reason:
        pytest.skip(f"the real Triton server cannot be installed: {reason}")
    assert record(tmp_path) == read_answers()
