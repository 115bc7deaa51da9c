"""The official clients with their own package for shared memory, over both protocols."""

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tests.conformance.clients import KINDS, AnyClient, any_client
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.shared_memory.memory_repository import write_repository
from tritonclient.utils import InferenceServerException, serialize_byte_tensor
from tritonclient.utils import shared_memory as shm

_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("memory")
    with start_atoll(write_repository(folder / "models"), folder / "log", "--allow-client-shm=true") as server:
        yield server


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[AnyClient]:
    with any_client(request.param, server) as client:
        yield client
        client.call("unregister_system_shared_memory")


class Shared:
    """A region that a client has made and registered under the name of its key."""

    def __init__(self, byte_size: int):
        self.key = f"atoll_clients_{os.getpid()}_{next(_numbers)}"
        self.byte_size = byte_size
        self.handle = shm.create_shared_memory_region(self.key, self.key, byte_size)

    def register(self, client: AnyClient) -> "Shared":
        client.call("register_system_shared_memory", self.key, "/" + self.key, self.byte_size)
        return self

    def put(self, *arrays: Any) -> None:
        shm.set_shared_memory_region(self.handle, arrays)

    def get(self, dtype: Any, shape: Any, offset: int = 0) -> Any:
        return shm.get_contents_as_numpy(self.handle, dtype, shape, offset).copy()


@contextmanager
def shared(*byte_sizes: int) -> Iterator[list[Shared]]:
    made = [Shared(size) for size in byte_sizes]
    try:
        yield made
    finally:
        for one in made:
            shm.destroy_shared_memory_region(one.handle)


def placed(
    client: AnyClient, shape: Any, kind: str, region: Shared, size: int, offset: int = 0, name: str = "IN0"
) -> Any:
    tensor = client.module.InferInput(name, list(shape), kind)
    tensor.set_shared_memory(region.key, size, offset)
    return tensor


def wanted(client: AnyClient, region: Shared, size: int, offset: int = 0, name: str = "OUT0") -> Any:
    output = client.module.InferRequestedOutput(name)
    output.set_shared_memory(region.key, size, offset)
    return output


def test_in_and_out(client: AnyClient) -> None:
    values = np.arange(1000, dtype=np.int32)
    with shared(8192, 8192) as (source, target):
        source.register(client)
        target.register(client)
        for turn in range(3):  # the second time the request is a known one
            source.put(values + turn)
            inputs = [placed(client, [1000], "INT32", source, 4000)]
            answer = client.call("infer", "ints", inputs, outputs=[wanted(client, target, 4000, 96)])
            assert (target.get(np.int32, [1000], 96) == values + turn).all()
            assert answer.get_output("OUT0") is not None
        only_in = client.call("infer", "ints", [placed(client, [4], "INT32", source, 16, 40)])
        assert only_in.as_numpy("OUT0").tolist() == [12, 13, 14, 15]


def test_a_region_that_was_registered_anew_under_its_name(client: AnyClient) -> None:
    with shared(64, 64) as (first, second):
        second.put(np.full(4, 7, np.int32))
        client.call("register_system_shared_memory", "r", "/" + first.key, 64)
        for expected in (0, 7):
            tensor = client.module.InferInput("IN0", [4], "INT32")
            tensor.set_shared_memory("r", 16)
            assert client.call("infer", "ints", [tensor]).as_numpy("OUT0").tolist() == [expected] * 4
            client.call("unregister_system_shared_memory", "r")
            client.call("register_system_shared_memory", "r", "/" + second.key, 64)
        client.call("unregister_system_shared_memory", "r")
        with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'r'"):
            client.call("infer", "ints", [tensor])


def test_texts(client: AnyClient) -> None:
    texts = np.array([b"one", b"", "zwei ü".encode()], dtype=np.object_)
    packed = serialize_byte_tensor(texts)
    size = len(packed.item())
    with shared(256, 256) as (source, target):
        source.register(client).put(packed)
        target.register(client)
        client.call(
            "infer",
            "texts",
            [placed(client, [3], "BYTES", source, size)],
            outputs=[wanted(client, target, 256)],
        )
        assert target.get(np.object_, [3]).tolist() == texts.tolist()


def test_one_tensor_by_region_and_one_in_the_request(client: AnyClient) -> None:
    with shared(64) as (region,):
        region.register(client).put(np.arange(4, dtype=np.int32))
        for binary in (True, False):
            plain = client.inputs({"IN1": np.full(4, 9, np.int32)}, binary)
            inputs = [placed(client, [4], "INT32", region, 16), *plain]
            outputs = [wanted(client, region, 16, 32, "OUT1"), *client.outputs("OUT0", binary=binary)]
            answer = client.call("infer", "pair", inputs, outputs=outputs)
            assert answer.as_numpy("OUT0").tolist() == [0, 1, 2, 3]
            assert region.get(np.int32, [4], 32).tolist() == [9] * 4


def test_too_small_a_place(client: AnyClient) -> None:
    with shared(64) as (region,):
        region.register(client)
        tensor = client.inputs({"IN0": np.arange(4, dtype=np.int32)})
        with pytest.raises(InferenceServerException, match=r"'OUT0' \(15 bytes\) should be at least 16 bytes to hold"):
            client.call("infer", "ints", tensor, outputs=[wanted(client, region, 15)])
        assert not region.get(np.int32, [16]).any()


def test_the_status_says_what_is_registered(client: AnyClient) -> None:
    with shared(100, 200) as regions:
        for one in regions:
            one.register(client)
        status = client.call("get_system_shared_memory_status")
        named = client.call("get_system_shared_memory_status", regions[1].key)
        if client.protocol == "grpc":
            status, named = list(status["regions"].values()), list(named["regions"].values())
        assert {one["name"]: int(one["byte_size"]) for one in status} == {one.key: one.byte_size for one in regions}
        assert [one["key"] for one in named] == ["/" + regions[1].key]
        client.call("unregister_system_shared_memory")
        assert not client.call("get_system_shared_memory_status") or client.protocol == "grpc"
        assert client.call("get_cuda_shared_memory_status") in ([], {})


def test_in_a_stream(server: ServerProcess) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with shared(256, 256) as (source, target), any_client("grpc", server) as client:
        source.register(client).put(np.arange(8, dtype=np.int32))
        target.register(client)
        with tritonclient.grpc.InferenceServerClient(server.grpc) as streaming:
            streaming.start_stream(lambda result, error: answers.put((result, error)))
            for number in range(20):
                inputs = [placed(client, [4], "INT32", source, 16, 16 * (number % 2))]
                outputs = [wanted(client, target, 16, 16 * (number % 16))]
                streaming.async_stream_infer("ints", inputs, outputs=outputs, request_id=str(number))
                result, error = answers.get(timeout=30)
                assert error is None
                assert result.get_response().id == str(number)
                found = target.get(np.int32, [4], 16 * (number % 16))
                assert found.tolist() == list(range(4 * (number % 2), 4 * (number % 2) + 4))
            streaming.async_stream_infer("twice", [placed(client, [4], "INT32", source, 16)], outputs=outputs)
            assert [answers.get(timeout=30)[1] for _ in range(2)] == [None, None]
            assert target.get(np.int32, [4], 16 * 3).tolist() == [1, 2, 3, 4], "of the second response"
        client.call("unregister_system_shared_memory")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_shares_no_memory_says_so(kind: str, atoll: ServerProcess) -> None:
    """The default."""
    off = "start it with --allow-client-shm=true"
    with any_client(kind, atoll) as client:
        for method in ("register_system_shared_memory", "register_cuda_shared_memory"):
            arguments = ("r", "/k", 8) if "system" in method else ("r", b"A" * 64, 0, 8)
            with pytest.raises(InferenceServerException, match=off):
                client.call(method, *arguments)
        for kind_of_memory in ("system", "cuda"):
            with pytest.raises(InferenceServerException, match=off):
                client.call(f"unregister_{kind_of_memory}_shared_memory")
            with pytest.raises(InferenceServerException, match=off):
                client.call(f"get_{kind_of_memory}_shared_memory_status")
        tensor = client.module.InferInput("INPUT0", [1, 16], "INT32")
        tensor.set_shared_memory("r", 64)
        with pytest.raises(
            InferenceServerException, match=r"Unable to find shared memory region: 'r'.*allow-client-shm"
        ):
            client.call("infer", "simple", [tensor])


def test_atoll_listen_takes_the_option(tmp_path: Path) -> None:
    import atoll

    with shared(64) as (region,):
        region.put(np.arange(4, dtype=np.int32))
        server = atoll.Server()
        server.add_model(
            "double", lambda value: 2 * value, inputs={"value": ("INT32", [4])}, outputs={"OUT": ("INT32", [4])}
        )
        with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, allow_client_shm=True) as listener:
            client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{listener.grpc_port}")
            client.register_system_shared_memory("r", "/" + region.key, 64)
            tensor = tritonclient.grpc.InferInput("value", [4], "INT32")
            tensor.set_shared_memory("r", 16)
            output = tritonclient.grpc.InferRequestedOutput("OUT")
            output.set_shared_memory("r", 16, 32)
            client.infer("double", [tensor], outputs=[output])
            assert region.get(np.int32, [4], 32).tolist() == [0, 2, 4, 6]
            client.close()
