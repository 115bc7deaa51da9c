"""Regions are of all clients: a key that does not open shared memory does not reach what others have put there."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.unit.frontends.access.key_files import key_text, put
from tests.unit.frontends.shared_memory.objects import shared_object
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

import atoll

KEYS = (
    {"name": "owner", "key": "key-owner", "scopes": ["inference", "shared-memory"]},
    {"name": "other", "key": "key-other"},
)


def echo(x: Any) -> Any:
    return x


class Shared:
    """A server with keys, a region of the owner's, and clients."""

    def __init__(self, listener: Any):
        self._url = f"http://127.0.0.1:{listener.http_port}/v2/"
        self._channel = grpc.insecure_channel(f"127.0.0.1:{listener.grpc_port}")
        self._stub = GRPCInferenceServiceStub(self._channel)

    def post(self, key: str, path: str, document: Any) -> int:
        request = urllib.request.Request(self._url + path, json.dumps(document).encode(), {"X-Api-Key": f"key-{key}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def over_http(self, key: str, where: str) -> int:
        place = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
        tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1]}
        asked: dict[str, Any] = {"inputs": [{**tensor, "data": [7]}]}
        if where == "input":
            asked["inputs"] = [{**tensor, "parameters": place}]
        else:
            asked["outputs"] = [{"name": "y", "parameters": place}]
        return self.post(key, "models/echo/infer", asked)

    def over_grpc(self, key: str, where: str, stream: bool) -> str:
        request = triton.ModelInferRequest(model_name="echo")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=(1,))
        placed = tensor if where == "input" else request.outputs.add(name="y")
        placed.parameters["shared_memory_region"].string_param = "r"
        placed.parameters["shared_memory_byte_size"].int64_param = 4
        if where == "output":
            request.raw_input_contents.append(np.float32(7).tobytes())
        metadata = (("x-api-key", f"key-{key}"),)
        try:
            if stream:
                (answer,) = self._stub.ModelStreamInfer(iter([request]), metadata=metadata, timeout=30)
                return str(answer.error_message)
            self._stub.ModelInfer(request, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return str(error.details())
        return ""

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    put(tmp_path / "keys", key_text(*KEYS))
    tensors: dict[str, Any] = {"inputs": {"x": ("FP32", [-1])}, "outputs": {"y": ("FP32", [-1])}}
    server = atoll.Server()
    server.add_model("echo", echo, **tensors)
    made: list[Any] = []

    def starter(**options: Any) -> Shared:
        listener = atoll.listen(
            server,
            http_port=0,
            grpc_port=0,
            allow_metrics=False,
            allow_client_shm=True,
            api_key_file=str(tmp_path / "keys"),
            **options,
        )
        shared = Shared(listener)
        made.extend((shared, listener))
        return shared

    yield starter
    for one in made:
        one.close()
    server.stop()


@pytest.mark.parametrize("where", ["input", "output"])
def test_only_keys_that_open_shared_memory_reach_regions(start: Any, where: str) -> None:
    shared = start()
    with shared_object(4) as memory:
        place = {"key": memory.key, "byte_size": 4}
        assert shared.post("other", "systemsharedmemory/region/r/register", place) == 403
        assert shared.post("owner", "systemsharedmemory/region/r/register", place) == 200
        assert shared.over_http("other", where) == 403
        for stream in (False, True):
            assert "does not have the scope 'shared-memory'" in shared.over_grpc("other", where, stream)
        assert memory.bytes() == bytes(4)
        assert shared.over_http("owner", where) == 200
        for stream in (False, True):
            assert shared.over_grpc("owner", where, stream) == ""
        assert shared.over_http("other", where) == 403, "what was learnt of the owner's request is not for others"
        assert "shared-memory" in shared.over_grpc("other", where, False)


def test_where_shared_memory_is_exempt_every_key_reaches_it(start: Any) -> None:
    shared = start(api_key_exempt="health,shared-memory")
    with shared_object(4) as memory:
        assert shared.post("other", "systemsharedmemory/region/r/register", {"key": memory.key, "byte_size": 4}) == 200
        assert shared.over_http("other", "input") == 200
        assert [shared.over_grpc("other", "output", stream) for stream in (False, True)] == ["", ""]
