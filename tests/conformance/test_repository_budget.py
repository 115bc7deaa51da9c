"""A memory budget over the wire: every request is answered, whatever is in memory at the moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import numpy as np
import pytest
from tests.conformance.clients import KINDS, any_client
from tests.conformance.process import ServerProcess, start_atoll
from tests.unit.models.tiny import write_model
from tritonclient.utils import InferenceServerException

MIB = 1 << 20
NAMES = [f"m{number}" for number in range(6)]
ROUNDS = 10
ONES = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Six models of 8 MiB each, of which about half may be in memory."""
    folder = tmp_path_factory.mktemp("budget")
    for number, name in enumerate(NAMES):
        write_model(folder / "models", name, number + 1, weight_bytes=8 * MIB)
    with start_atoll(folder / "models", folder / "log", "--model-memory-budget=40MiB") as server:
        yield server


def test_nothing_is_in_memory_and_everything_is_ready(server: ServerProcess) -> None:
    assert server.exchange("GET", "/v2/health/ready").status == 200
    for name in NAMES:
        assert server.exchange("GET", f"/v2/models/{name}/ready").status == 200


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_finds_its_model(server: ServerProcess, kind: str) -> None:
    with any_client(kind, server) as client:
        for number, name in enumerate(NAMES):
            assert client.config(name)["name"] == name
            assert client.infer(name, {"IN": ONES}).as_numpy("OUT")[0, 0] == number + 1
        for name in NAMES:
            assert client.call("get_model_metadata", name)["name"] == name
        with pytest.raises(InferenceServerException, match="is not found"):
            client.infer("nope", {"IN": ONES})


def test_a_stream_over_all_models(server: ServerProcess) -> None:
    answers: Queue[Any] = Queue()
    with any_client("grpc", server) as client:
        client.call("start_stream", lambda result, error: answers.put((result, error)))
        for name in NAMES * 3:
            client.call("async_stream_infer", name, client.inputs({"IN": ONES}))
        found = [answers.get(timeout=60) for _ in NAMES * 3]
        client.call("stop_stream")
    assert not [error for _, error in found if error is not None]
    assert [result.as_numpy("OUT")[0, 0] for result, _ in found] == [*range(1, len(NAMES) + 1)] * 3


def test_no_request_fails_while_models_come_and_go(server: ServerProcess) -> None:
    def ask(kind: str, start: int) -> int:
        with any_client(kind, server) as client:
            for number in range(start, start + ROUNDS):
                number %= len(NAMES)
                assert client.infer(NAMES[number], {"IN": ONES}).as_numpy("OUT")[0, 0] == number + 1
        return ROUNDS

    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(ask, KINDS[one % len(KINDS)], one * 2) for one in range(6)]
        assert sum(one.result(120) for one in running) == 6 * ROUNDS
    assert "the least recently used, to make room for" in server.log_text()
    assert server.exchange("GET", "/v2/health/ready").status == 200
