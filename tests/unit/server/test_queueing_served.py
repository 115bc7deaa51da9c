"""Queues with rules, served: what clients hear over HTTP and gRPC while a real model is busy, and what is counted."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import (
    PATIENCE_S,
    Asked,
    eventually,
    nothing_left,
    serving,
    write_python,
)
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

import atoll
from atoll.errors import ConfigError
from atoll.execution.driving import PROOF

FREE: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
# Notes what it runs. A negative number waits for the gate.
GATED = """
def each(request):
    array = value(request)
    note(NOTES, f"{int(array[0])} ")
    while array[0] < 0 and not os.path.exists(NOTES + ".gate"):
        time.sleep(0.002)
    return answer(array)
"""
PLACEMENTS = pytest.mark.parametrize("isolation", ["process", "thread"])


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Not where gRPC's client is used, which keeps descriptors of its own."""
    with nothing_left():
        yield


class Gated:
    """The notes of a model of GATED, and its gate."""

    def __init__(self, notes: Path):
        self.notes = notes

    def ran(self) -> list[int]:
        return [int(one) for one in self.notes.read_text().split()] if self.notes.exists() else []

    def wait(self, *numbers: int) -> None:
        eventually(lambda: self.ran() == list(numbers), f"these run: {numbers}")

    def open(self) -> None:
        Path(f"{self.notes}.gate").touch()

    def __enter__(self) -> "Gated":
        return self

    def __exit__(self, *error: object) -> None:
        self.open()  # a test that fails leaves nobody waiting


def gated(repository: Path, batching: str, *, isolation: str = "process", instances: int = 1) -> Gated:
    parameters = {"isolation": isolation}
    more = f"dynamic_batching {{ {batching} }}"
    return Gated(write_python(repository, "m", GATED, instances=instances, parameters=parameters, more=more))


def over_http(port: int, number: float, **parameters: Any) -> tuple[int, str]:
    """The status, and what is said."""
    body = {
        "id": f"r{number:.0f}",
        "inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [number]}],
        "parameters": parameters,
    }
    url = f"http://127.0.0.1:{port}/v2/models/m/infer"
    try:
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=PATIENCE_S) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def retry_after(port: int) -> str:
    """What a refusal says of when to ask again."""
    body = {"inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [0]}]}
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/m/infer", json.dumps(body).encode())
    return str(raised.value.headers["Retry-After"])


def over_grpc(port: int, number: float, **options: Any) -> str:
    """What is said, with its code."""
    tensor = InferInput("IN", [1], "FP32")
    tensor.set_data_from_numpy(np.array([number], np.float32))
    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            client.infer("m", [tensor], **options)
        except InferenceServerException as error:
            return str(error)
    return ""


def metric(port: int, name: str, labels: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as page:
        [line] = [one for one in page.read().decode().splitlines() if one.startswith(name) and labels in one]
    return float(line.rsplit(" ", 1)[1])


@PLACEMENTS
def test_who_waits_too_long_hears_so_while_the_only_instance_is_busy(tmp_path: Path, isolation: str) -> None:
    model = gated(tmp_path, "default_queue_policy { default_timeout_microseconds: 50000 }", isolation=isolation)
    with serving(tmp_path) as server, atoll.listen(server, **FREE) as listener, model:
        busy = Asked(server, "m", [-1])
        model.wait(-1)
        late = "Request timeout expired"
        assert over_http(listener.http_port, 2) == (503, late)
        assert over_grpc(listener.grpc_port, 3) == f"[StatusCode.UNAVAILABLE] {late}"
        assert Asked(server, "m", [4]).error == late
        assert metric(listener.metrics_port, "nv_inference_request_failure", 'reason="REJECTED"') == 3
        assert not busy.finals
        model.open()
        assert busy.error == ""
        assert model.ran() == [-1]


def test_no_request_goes_to_an_instance_ahead_of_its_turn(tmp_path: Path) -> None:
    """Where executions are short, an instance is given batches beforehand: not out of a queue with rules."""
    model = gated(tmp_path, "default_queue_policy { default_timeout_microseconds: 50000 max_queue_size: 3 }")
    with serving(tmp_path) as server, model:
        for _ in range(2 * PROOF):
            assert Asked(server, "m", [0]).values == [0]
        busy = Asked(server, "m", [-1])
        eventually(lambda: model.ran()[-1] == -1, "the long one runs")
        late = [Asked(server, "m", [number]) for number in (2, 3, 4)]
        assert {one.error for one in late} == {"Request timeout expired"}
        assert not busy.finals


def test_an_absurd_timeout_of_a_request_is_no_timeout(tmp_path: Path) -> None:
    policy = "default_queue_policy { default_timeout_microseconds: 18446744073709551615 allow_timeout_override: true }"
    model = gated(tmp_path, f"{policy} max_queue_delay_microseconds: 18446744073709551615")
    model.open()
    with serving(tmp_path) as server, atoll.listen(server, **FREE) as listener, model:
        assert over_http(listener.http_port, 1, timeout=2**64 - 1) == (200, "")
        assert over_http(listener.http_port, 2, timeout=0, priority=2**64 - 1) == (200, "")
        assert over_grpc(listener.grpc_port, 3, timeout=2**63 - 1) == ""


@PLACEMENTS
def test_a_queue_takes_so_many_and_no_more(tmp_path: Path, isolation: str) -> None:
    model = gated(tmp_path, "default_queue_policy { max_queue_size: 2 }", isolation=isolation)
    with serving(tmp_path) as server, atoll.listen(server, **FREE) as listener, model:
        asked = [Asked(server, "m", [-1])]
        model.wait(-1)
        asked += [Asked(server, "m", [number]) for number in (2, 3)]
        assert metric(listener.metrics_port, "nv_inference_pending_request_count", 'model="m"') == 2
        full = "Exceeds maximum queue size"
        assert over_http(listener.http_port, 4) == (503, f"[request id: r4] {full}")
        assert retry_after(listener.http_port) == "1"
        said = over_grpc(listener.grpc_port, 5)
        assert said == f"[StatusCode.UNAVAILABLE] [request id: <id_unknown>] {full}"
        model.open()
        assert [one.error for one in asked] == ["", "", ""]
        assert over_http(listener.http_port, 6) == (200, "")
        assert model.ran() == [-1, 2, 3, 6]


@PLACEMENTS
def test_clients_say_their_priority(tmp_path: Path, isolation: str) -> None:
    model = gated(tmp_path, "priority_levels: 3 default_priority_level: 2", isolation=isolation)
    with serving(tmp_path) as server, atoll.listen(server, **FREE) as listener, model:
        busy = Asked(server, "m", [-1])
        model.wait(-1)
        threads = []
        asked = [
            (over_http, listener.http_port, 3),
            (over_http, listener.http_port, 99),
            (over_grpc, listener.grpc_port, 1),
            (over_http, listener.http_port, 2),
            (over_grpc, listener.grpc_port, 3),
            (over_http, listener.http_port, 1),
        ]
        for number, (ask, port, priority) in enumerate(asked):
            thread = threading.Thread(target=ask, args=(port, number), kwargs={"priority": priority})
            thread.start()
            threads.append(thread)
            eventually(lambda n=number: server.statistics("m")[0].pending_request_count == n + 1, "it waits")
        model.open()
        for thread in threads:
            thread.join()
        assert busy.error == ""
        assert model.ran() == [-1, 2, 5, 1, 3, 0, 4]


def test_python_callers_say_their_priority_too(tmp_path: Path) -> None:
    model = gated(tmp_path, "priority_levels: 2 default_priority_level: 2")

    async def ask(server: atoll.Server) -> None:
        asked = []
        for number, priority in enumerate((0, 2, 1)):
            inputs = {"IN": np.array([number], np.float32)}
            asked.append(asyncio.ensure_future(server.async_infer("m", inputs, priority=priority)))
            await asyncio.sleep(0)
        thread = asyncio.to_thread(server.infer, "m", {"IN": np.array([3], np.float32)}, priority=1)
        asked.append(asyncio.ensure_future(thread))
        while server.statistics("m")[0].pending_request_count < 4:
            await asyncio.sleep(0.001)
        model.open()
        await asyncio.gather(*asked)

    with serving(tmp_path) as server, model:
        busy = Asked(server, "m", [-1])
        model.wait(-1)
        asyncio.run(asyncio.wait_for(ask(server), PATIENCE_S))
        assert busy.error == ""
    assert model.ran() == [-1, 2, 3, 0, 1]


@pytest.mark.usefixtures("leaves_nothing")
@PLACEMENTS
def test_the_answers_of_two_instances_leave_in_order(tmp_path: Path, isolation: str) -> None:
    model = gated(tmp_path, "preserve_ordering: true", isolation=isolation, instances=2)
    with serving(tmp_path) as server, model:
        left: list[int] = []
        asked = [Asked(server, "m", [-1])]
        model.wait(-1)
        asked += [Asked(server, "m", [number]) for number in (2, 3, 4)]
        for number, one in enumerate(asked):
            one.on_response = lambda number=number: left.append(number)  # type: ignore[misc]
        model.wait(-1, 2, 3, 4)
        assert not any(one.finals for one in asked)
        model.open()
        assert [one.error for one in asked] == ["", "", "", ""]
        eventually(lambda: len(left) == 4, "all have heard")
        assert left == [0, 1, 2, 3]


@pytest.mark.usefixtures("leaves_nothing")
def test_what_is_cancelled_in_an_ordered_queue_is_gone_at_once(tmp_path: Path) -> None:
    model = gated(tmp_path, "preserve_ordering: true")
    with serving(tmp_path) as server, model:
        busy = Asked(server, "m", [-1])
        model.wait(-1)
        gone, after = Asked(server, "m", [2]), Asked(server, "m", [3])
        gone.request.cancel()
        assert gone.error == "request was cancelled before it was executed"
        assert not busy.finals
        model.open()
        assert (busy.error, after.error, model.ran()) == ("", "", [-1, 3])


@pytest.mark.usefixtures("leaves_nothing")
def test_a_model_that_is_unloaded_while_requests_wait_answers_them(tmp_path: Path) -> None:
    model = gated(tmp_path, "preserve_ordering: true default_queue_policy { default_timeout_microseconds: 3600000000 }")
    with serving(tmp_path, model_control_mode="explicit", load_model=("m",)) as server, model:
        asked = [Asked(server, "m", [number]) for number in (-1, 2, 3)]
        model.wait(-1)
        unloading = threading.Thread(target=server.unload_model, args=("m",))
        unloading.start()
        model.open()
        assert [one.error for one in asked] == ["", "", ""]
        unloading.join()
        assert model.ran() == [-1, 2, 3]


def test_a_strategy_that_is_not_there_is_named_with_its_place(tmp_path: Path) -> None:
    more = 'dynamic_batching { }\nparameters { key: "batch_strategy" value { string_value: "by_volume" } }'
    write_python(tmp_path, "m", GATED, more=more)
    file = tmp_path / "m" / "config.pbtxt"
    file.write_text(file.read_text().replace("max_batch_size: 0", "max_batch_size: 4"))
    with (
        serving(tmp_path, model_control_mode="explicit") as server,
        pytest.raises(ConfigError, match=r"unable to find batch strategy 'by_volume'") as raised,
    ):
        server.load_model("m")
    assert str(file) in str(raised.value)
    assert "parameters.batch_strategy" in str(raised.value)
