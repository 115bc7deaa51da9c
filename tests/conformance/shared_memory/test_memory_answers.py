"""Shared memory: Atoll's answers compared with those of the real server, over both transports of gRPC."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import answer_differences
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.recording import read_record
from tests.conformance.shared_memory.memory_repository import write_repository
from tests.conformance.shared_memory.record_memory import record
from tests.conformance.shared_memory.running import run
from tests.conformance.shared_memory.scenarios import scenarios

RECORDED = read_record("shared_memory")
SCENARIOS = scenarios()
_SAID_OTHERWISE = "What does not fit into 64 bits is refused before the system is asked; the real server asks it."
DIFFERENT: dict[str, tuple[list[int], str]] = {
    "register over gRPC: an overflow": ([0], _SAID_OTHERWISE),
    "register: an overflow": ([0], _SAID_OTHERWISE),
    "register: an odd offset": ([0, 1], "A region begins where it is said to; the real server takes whole pages only."),
    "overlapping": (
        [1, 2, 3],
        "Regions may share bytes, as Triton documents it; 2.51 has closed the file when its key comes a second time.",
    ),
}
"""By scenario, which answers differ, and why."""

UNSETTLED = {"overlapping"}
"""Scenarios that the real server does not answer alike each time: it maps a number that it has closed, and what the
error says depends on which file has the number by then."""


@pytest.fixture(scope="module", params=["nghttp2", "grpcio"])
def atoll(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if request.param == "nghttp2":
        pytest.importorskip("atoll.frontends.grpc.nghttp2._nghttp2", reason="the native transport is not built")
    folder = tmp_path_factory.mktemp(request.param)
    options = ("--allow-client-shm=true", f"--grpc-transport={request.param}")
    with start_atoll(write_repository(folder / "models"), folder / "log", *options) as server:
        yield server


@pytest.fixture(scope="module")
def channel(atoll: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(atoll.grpc) as channel:
        yield channel


def differences(recorded: dict[str, Any], found: dict[str, Any]) -> list[tuple[int, str]]:
    """What differs: the number of the answer, -1 for the file, and what."""
    pairs = enumerate(zip(recorded["answers"], found["answers"], strict=True))
    result = [(number, text) for number, (wanted, got) in pairs for text in answer_differences(wanted, got)]
    return result if recorded["two"] == found["two"] else [*result, (-1, f"@two is {found['two']}")]


def test_each_scenario_has_a_record() -> None:
    assert set(RECORDED) == set(SCENARIOS)
    assert set(DIFFERENT) <= set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_answers_are_those_of_the_real_server(atoll: ServerProcess, channel: grpc.Channel, name: str) -> None:
    found = differences(RECORDED[name], run(atoll, channel, SCENARIOS[name]))
    numbers, why = DIFFERENT.get(name, ([], ""))
    assert [number for number, _ in found] == numbers, f"{why}\n{json.dumps(found, indent=1)}"


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_answers(tmp_path: Path) -> None:
    found = ask_again(record, tmp_path)
    wrong = {name: differences(RECORDED[name], found[name]) for name in SCENARIOS.keys() - UNSETTLED}
    assert not {name: one for name, one in wrong.items() if one}
