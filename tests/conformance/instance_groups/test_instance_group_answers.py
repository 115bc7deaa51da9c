"""Instance groups of every form at Atoll, compared with what the real server was seen to make of them. No GPU is there
for either.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again, skip_unless_all_is_asked
from tests.conformance.instance_groups.examining import ARGUMENTS, examine, write_models
from tests.conformance.instance_groups.groups import GROUPS
from tests.conformance.instance_groups.record_instance_groups import record
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.recording import read_record

RECORDED = read_record("instance_groups")
REASON = re.compile(r"Invalid argument: (.*);\n", re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("instance_groups")
    # without GPUs, as the recorded server had none
    with start_atoll(write_models(folder / "models"), folder / "log", *ARGUMENTS, environment=_blind()) as server:
        yield server


def _blind() -> Mapping[str, str]:
    return {**os.environ, "TRITON_SERVER_CPU_ONLY": "1"}


def test_each_form_has_one_record() -> None:
    assert list(RECORDED) == list(GROUPS)


@pytest.mark.parametrize("name", [one for one in GROUPS if RECORDED[one]["status"] == 200])
def test_the_groups_are_completed_as_by_the_real_server(served: ServerProcess, name: str) -> None:
    assert examine(served, name) == RECORDED[name]


@pytest.mark.parametrize("name", [one for one in GROUPS if RECORDED[one]["status"] != 200])
def test_what_it_refuses_is_refused_in_its_words(served: ServerProcess, name: str) -> None:
    found = examine(served, name)
    reason = REASON.search(RECORDED[name]["error"])
    assert reason is not None
    assert found["status"] == RECORDED[name]["status"]
    assert reason[1] in found["error"]
    assert found["error"].startswith(f"load failed for model '{name}': version 1 is at UNAVAILABLE state: ")


@pytest.mark.oracle
@pytest.mark.slow
def test_the_real_server_still_answers_so(tmp_path: Path) -> None:
    skip_unless_all_is_asked()
    found: dict[str, Any] = ask_again(record, tmp_path)
    assert found == RECORDED
