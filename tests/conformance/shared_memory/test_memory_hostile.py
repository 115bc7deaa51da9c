"""Clients that do harm to the memory that they share: each gets an error, and the server serves on."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.conformance.process import HOST, ServerProcess, start_atoll, wait_until
from tests.conformance.shared_memory.steps import SYSTEM, register, unregister
from tests.conformance.wire import Exchange
from tritonclient.grpc import service_pb2, service_pb2_grpc

MIB = 1 << 20
GONE = "its owner has made it shorter"
_numbers = count()

_WAITING = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        if {waits}:
            open({folder!r} + "/begun", "w").close()
            while not os.path.exists({folder!r} + "/gate"):
                time.sleep(0.005)
        sums = [int(pb_utils.get_input_tensor_by_name(one, "IN").as_numpy().sum(dtype=np.int64)) for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([one], np.int64))]) for one in sums]
"""
_CONFIG = """
backend: "python"
input [ {{ name: "IN" data_type: TYPE_UINT8 dims: [ -1 ] }} ]
output [ {{ name: "OUT" data_type: TYPE_INT64 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
parameters: {{ key: "isolation" value: {{ string_value: "{isolation}" }} }}
"""


def write_models(root: Path) -> Path:
    """`process` and `thread` add up what they get; `waiting_*` begin with it when the gate is open."""
    for isolation in ("process", "thread"):
        for waits in (False, True):
            folder = root / (f"waiting_{isolation}" if waits else isolation)
            (folder / "1").mkdir(parents=True)
            (folder / "1" / "model.py").write_text(_WAITING.format(waits=waits, folder=str(folder)))
            (folder / "config.pbtxt").write_text(_CONFIG.format(isolation=isolation))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with start_atoll(write_models(folder / "models"), folder / "log", "--allow-client-shm=true") as server:
        yield server
        assert server.process.poll() is None, "it has lived through all of it"


@pytest.fixture(autouse=True)
def _tidy(server: ServerProcess) -> Iterator[None]:
    yield
    assert ask(server, unregister()).status == 200


@contextmanager
def memory(byte_size: int) -> Iterator[Path]:
    path = Path(f"/dev/shm/atoll_hostile_{os.getpid()}_{next(_numbers)}")
    path.write_bytes(b"\1" * byte_size)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def ask(server: ServerProcess, step: Any) -> Exchange:
    return server.exchange(step.method, step.path, body=step.bytes(), headers=step.headers())


def registered(server: ServerProcess, path: Path, name: str = "r", **more: Any) -> Exchange:
    return ask(server, register(name, f"/{path.name}", **{"byte_size": path.stat().st_size, **more}))


def infer(server: ServerProcess, model: str, byte_size: int, region: str = "r", outputs: Any = None) -> Exchange:
    parameters = {"shared_memory_region": region, "shared_memory_byte_size": byte_size}
    tensor = {"name": "IN", "datatype": "UINT8", "shape": [byte_size], "parameters": parameters}
    document = {"inputs": [tensor], **({"outputs": outputs} if outputs else {})}
    return server.exchange("POST", f"/v2/models/{model}/infer", body=json.dumps(document).encode())


def waiting(server: ServerProcess, model: str) -> int:
    """How many requests wait for the model."""
    page = Exchange.ask(HOST, server.ports["metrics"], "GET", "/metrics").body.decode()
    found = re.search(rf'nv_inference_pending_request_count{{model="{model}"[^}}]*}} (\d+)', page)
    return int(found[1]) if found else 0


def served(server: ServerProcess, model: str) -> None:
    """It still answers, with and without shared memory."""
    with memory(5000) as path:
        assert registered(server, path, "healthy").status == 200
        assert infer(server, model, 5000, "healthy").json()["outputs"][0]["data"] == [5000]
    tensor = {"name": "IN", "datatype": "UINT8", "shape": [2], "data": [3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert server.exchange("POST", f"/v2/models/{model}/infer", body=body).json()["outputs"][0]["data"] == [7]


@pytest.mark.parametrize("model", ["process", "thread"])
@pytest.mark.parametrize("left", [0, 4096, MIB - 1])
def test_a_file_that_is_cut_short_while_it_is_registered(server: ServerProcess, model: str, left: int) -> None:
    with memory(MIB) as path:
        registered(server, path)
        assert infer(server, model, MIB).status == 200
        os.truncate(path, left)
        answer = infer(server, model, MIB)
        if left < MIB - 4096:
            assert answer.status == 400
            assert GONE in answer.error
            os.truncate(path, MIB)
            assert GONE in infer(server, model, MIB).error, "it stays lost until it is registered anew"
            ask(server, unregister("r"))
            registered(server, path)
            assert infer(server, model, MIB).json()["outputs"][0]["data"] == [left]
        else:  # within the last page: those bytes are zeros
            assert answer.json()["outputs"][0]["data"] == [left]
        served(server, model)


@pytest.mark.parametrize("isolation", ["process", "thread"])
def test_a_file_that_is_cut_short_while_it_is_used(server: ServerProcess, folder: Path, isolation: str) -> None:
    model = f"waiting_{isolation}"
    gate = folder / "models" / model
    answers: list[Exchange] = []
    with memory(MIB) as path, memory(64) as result:
        registered(server, path)
        registered(server, result, "out")
        place = [{"name": "OUT", "parameters": {"shared_memory_region": "out", "shared_memory_byte_size": 8}}]
        threads = [
            threading.Thread(target=lambda: answers.append(infer(server, model, MIB, outputs=place))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        wait_until((gate / "begun").exists, "the first execution", server)
        wait_until(lambda: waiting(server, model) == 2, "two requests in the queue", server)
        ask(server, unregister("r"))
        os.truncate(path, 0)
        (gate / "gate").touch()
        for thread in threads:
            thread.join(60)
        assert sorted(one.status for one in answers) in ([200, 400, 400], [400, 400, 400])
        assert all(one.status == 200 or GONE in one.error for one in answers)
        served(server, model)


def test_an_output_for_a_file_that_is_cut_short(server: ServerProcess) -> None:
    with memory(MIB) as path, memory(MIB) as result:
        registered(server, path)
        registered(server, result, "out")
        os.truncate(result, 0)
        place = {"shared_memory_region": "out", "shared_memory_byte_size": 8, "shared_memory_offset": MIB // 2}
        answer = infer(server, "process", 100, outputs=[{"name": "OUT", "parameters": place}])
        assert answer.status == 400
        assert GONE in answer.error
        assert result.stat().st_size == 0
        served(server, "process")


def test_many_requests_over_a_file_that_changes_its_length_all_the_time(server: ServerProcess) -> None:
    stop = threading.Event()
    with memory(MIB) as path:

        def saw() -> None:
            while not stop.is_set():
                os.truncate(path, 0)
                os.truncate(path, MIB)

        thread = threading.Thread(target=saw)
        thread.start()
        try:
            for number in range(40):
                name = f"r{number}"
                if registered(server, path, name, byte_size=MIB).status == 200:
                    answer = infer(server, "thread" if number % 2 else "process", MIB, name)
                    assert answer.status == 200 or GONE in answer.error
        finally:
            stop.set()
            thread.join(30)
        served(server, "thread")


def test_regions_without_end(server: ServerProcess) -> None:
    with memory(4096) as path, grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        refused = None
        for number in range(5000):
            request = service_pb2.SystemSharedMemoryRegisterRequest(name=f"r{number}", key=path.name, byte_size=4096)
            try:
                stub.SystemSharedMemoryRegister(request, timeout=30)
            except grpc.RpcError as error:
                refused = error
                break
        assert refused is not None
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert "that is the limit: unregister some first" in refused.details()
        assert infer(server, "process", 4096, "r0").json()["outputs"][0]["data"] == [4096]
        status = stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest(), timeout=30)
        assert len(status.regions) == number
        ask(server, unregister())
        served(server, "process")


def test_names_of_any_kind(server: ServerProcess) -> None:
    with memory(64) as path, grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in ("..", "../..", "/etc/passwd", "\0", "\n", "ü" * 100, "%2e%2e", "n" * 1_000_000):
            request = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key="/" + path.name, byte_size=64)
            if len(name) > 1024:
                with pytest.raises(grpc.RpcError, match="has 1000000 characters"):
                    stub.SystemSharedMemoryRegister(request, timeout=30)
            else:
                stub.SystemSharedMemoryRegister(request, timeout=30)
                assert infer(server, "process", 64, name).json()["outputs"][0]["data"] == [64]
        answer = infer(server, "process", 64, "m" * 1_000_000)
        assert answer.status == 404


def test_a_region_of_a_huge_hollow_file(server: ServerProcess) -> None:
    """Its size is true, and there is nothing in it."""
    with memory(0) as path:
        os.truncate(path, 1 << 40)
        assert registered(server, path).status == 200
        assert infer(server, "process", 4096).json()["outputs"][0]["data"] == [0]
        os.truncate(path, 0)
        assert infer(server, "process", 4096).status == 400
    served(server, "process")


def test_web_pages_of_other_origins_register_nothing(server: ServerProcess) -> None:
    with memory(64) as path:
        body = json.dumps({"key": path.name, "byte_size": 64}).encode()
        for verb, target in (("POST", f"{SYSTEM}/region/r/register"), ("POST", f"{SYSTEM}/unregister")):
            answer = server.exchange(verb, target, body=body, headers={"Origin": "https://elsewhere.example"})
            assert answer.status == 403
        assert server.exchange("GET", f"{SYSTEM}/status").json() == []


def test_aligned_or_not_the_sum_is_right(server: ServerProcess) -> None:
    with memory(10_000) as path:
        data = np.random.default_rng(7).integers(0, 255, 10_000, dtype=np.uint8)
        path.write_bytes(data.tobytes())
        for offset in (0, 1, 4095, 4097):
            registered(server, path, f"r{offset}", offset=offset, byte_size=5000)
            for model in ("process", "thread"):
                answer = infer(server, model, 4999, f"r{offset}")
                assert answer.json()["outputs"][0]["data"] == [int(data[offset : offset + 4999].sum(dtype=np.int64))]


def test_nothing_of_a_region_stays_behind(server: ServerProcess) -> None:
    """Not of those that were used, not of those whose requests failed, not of those that were cut short."""

    def mapped(path: Path) -> bool:
        return path.name in Path(f"/proc/{server.process.pid}/maps").read_text()

    with memory(MIB) as path, grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        registered(server, path)
        for model in ("process", "thread"):
            for byte_size in (MIB, 100):
                assert infer(server, model, byte_size).status == 200
                message = service_pb2.ModelInferRequest(model_name=model)
                tensor = message.inputs.add(name="IN", datatype="UINT8", shape=[byte_size])
                tensor.parameters["shared_memory_region"].string_param = "r"
                tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
                stub.ModelInfer(message, timeout=30)
                tensor.shape[0] += 1
                with pytest.raises(grpc.RpcError, match="byte size mismatch"):
                    stub.ModelInfer(message, timeout=30)
        assert infer(server, "nope", 100).status == 404
        place = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
        assert infer(server, "process", 100, outputs=[{"name": "OUT", "parameters": place}]).status == 500
        assert mapped(path)
        ask(server, unregister("r"))
        wait_until(lambda: not mapped(path), "the end of the mapping", server)
