"""The official clients with Python models: the same calls to Atoll and to the real server."""

import asyncio
import queue
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tests.conformance.asking_again import skip_without_real_server
from tests.conformance.clients import KINDS, AnyClient, any_client
from tests.conformance.models import write_python_repository
from tests.conformance.process import ServerProcess, start_atoll, start_real_triton
from tests.conformance.python_models.scenarios import MODELS
from tritonclient.utils import InferenceServerException

SERVED = ("identity", "repeat", "refuse", "told", "strings", "slow", "add_sub", "accumulate", "iterate")


@pytest.fixture(scope="module", params=["atoll", pytest.param("triton", marks=pytest.mark.oracle)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("clients")
    models = write_python_repository(folder / "models", "identity_fp32", "identity_bytes", "identity_bf16")
    for name in SERVED:
        shutil.copytree(MODELS / name, models / name, ignore=shutil.ignore_patterns("__pycache__"))
    start = start_atoll
    if request.param == "triton":
        skip_without_real_server()
        start = start_real_triton
    with start(models, folder / "log") as running:
        yield running


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[AnyClient]:
    with any_client(request.param, server) as one:
        yield one


@pytest.mark.parametrize("elements", [1, 1000, 300_000])
def test_floats_come_back(client: AnyClient, elements: int) -> None:
    sent = np.random.default_rng(0).random((2, elements), np.float32)
    assert np.array_equal(client.infer("identity_fp32", {"INPUT0": sent}).as_numpy("OUTPUT0"), sent)


def test_floats_come_back_as_json(client: AnyClient) -> None:
    sent = np.array([[1.5, -2.25]], np.float32)
    result = client.infer(
        "identity_fp32", {"INPUT0": sent}, binary=False, outputs=client.outputs("OUTPUT0", binary=False)
    )
    assert np.array_equal(result.as_numpy("OUTPUT0"), sent)


def test_bytes_come_back(client: AnyClient) -> None:
    sent = np.array([[b"", b"\x00\xff", "h\u00e9".encode(), b"x" * 70_000]], np.object_)
    assert client.infer("identity_bytes", {"INPUT0": sent}).as_numpy("OUTPUT0").tolist() == sent.tolist()


def test_texts_are_objects_in_the_model(client: AnyClient) -> None:
    result = client.infer("strings", {"INPUT0": np.array([[b"abc", b"Def"]], np.object_)})
    assert result.as_numpy("OUTPUT0").tolist() == [[b"ABC", b"DEF"]]


def test_brain_floats_come_back(client: AnyClient) -> None:
    sent = np.array([[1.0, -2.5, 2.0**100]], ml_dtypes.bfloat16)
    assert np.array_equal(client.infer("identity_bf16", {"INPUT0": sent}).as_numpy("OUTPUT0"), sent)


def test_only_the_outputs_that_are_asked_for(client: AnyClient) -> None:
    pair = {"INPUT0": np.full((1, 2), 3, np.float32), "INPUT1": np.full((1, 2), 1, np.float32)}
    result = client.infer("add_sub", pair, outputs=client.outputs("OUTPUT1"))
    assert result.as_numpy("OUTPUT0") is None
    assert result.as_numpy("OUTPUT1").tolist() == [[2.0, 2.0]]


def test_parameters_reach_the_model(client: AnyClient) -> None:
    parameters = {"a": 1, "b": "text", "c": True}
    result = client.infer("told", {"INPUT0": np.zeros(1, np.float32)}, parameters=parameters, request_id="mine")
    told = result.as_numpy("RESULT")[0].decode()
    assert '"parameters": {"a": 1, "b": "text", "c": true}' in told
    assert '"request_id": "mine"' in told


def test_an_error_of_the_model_is_the_clients(client: AnyClient) -> None:
    with pytest.raises(InferenceServerException, match="told to fail with NOT_FOUND") as caught:
        client.infer("refuse", {"INPUT0": np.array([2], np.float32)})
    assert caught.value.status() == {"http": "404", "grpc": "StatusCode.NOT_FOUND"}[client.protocol]


def test_a_sequence(client: AnyClient) -> None:
    sums = []
    for number in (1, 2, 3):
        result = client.infer(
            "accumulate",
            {"INPUT0": np.full((1, 1), number, np.float32)},
            sequence_id=4711,
            sequence_start=number == 1,
            sequence_end=number == 3,
        )
        sums.append(result.as_numpy("OUTPUT0").tolist())
    assert sums == [[[1.0]], [[3.0]], [[6.0]]]
    with pytest.raises(
        InferenceServerException, match="sequence 4711 to model 'accumulate' must specify the START flag"
    ):
        client.infer("accumulate", {"INPUT0": np.ones((1, 1), np.float32)}, sequence_id=4711)


def test_sequences_in_one_stream(server: ServerProcess) -> None:
    """Nobody waits for an answer before the next request: three sequences, told apart, each in its order."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for number in range(30):
            for key in (101, 102, 103):
                tensor = tritonclient.grpc.InferInput("INPUT0", [1, 1], "FP32")
                tensor.set_data_from_numpy(np.full((1, 1), key, np.float32))
                client.async_stream_infer(
                    "accumulate",
                    [tensor],
                    request_id=f"{key}",
                    sequence_id=key,
                    sequence_start=number == 0,
                    sequence_end=number == 29,
                )
        sums: dict[str, list[float]] = {}
        for _ in range(90):
            result, error = answers.get(timeout=30)
            assert error is None
            sums.setdefault(result.get_response().id, []).append(float(result.as_numpy("OUTPUT0")[0, 0]))
        client.stop_stream()
    assert sums == {f"{key}": [key * (number + 1.0) for number in range(30)] for key in (101, 102, 103)}


def test_a_request_that_its_model_gives_back_several_times(client: AnyClient) -> None:
    result = client.infer("iterate", {"INPUT0": np.full((1, 1), 9, np.float32)})
    assert result.as_numpy("OUTPUT0").tolist() == [[9.0]]


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_stream_of_responses_with_an_empty_final_one(server: ServerProcess, count: int) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    values, finals = [], []
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        client.async_stream_infer("repeat", _inputs(tritonclient.grpc, count), enable_empty_final_response=True)
        while not (finals and finals[-1]):
            result, error = answers.get(timeout=30)
            assert error is None
            _collect(result, values, finals)
        client.stop_stream()
    assert values == [[float(number)] for number in range(count)]
    assert finals == [False] * count + [True]


async def test_an_asynchronous_stream(server: ServerProcess) -> None:
    async def asked() -> AsyncIterator[dict[str, Any]]:
        inputs = _inputs(tritonclient.grpc.aio, 5)  # this client has no way to ask for an empty final response
        yield {"model_name": "repeat", "inputs": inputs}

    values: list[Any] = []
    finals: list[bool] = []
    async with tritonclient.grpc.aio.InferenceServerClient(server.grpc) as client:
        async for result, error in client.stream_infer(asked()):
            assert error is None
            _collect(result, values, finals)
            if len(values) == 5:
                break
    assert values == [[float(number)] for number in range(5)]
    assert finals == [False] * 5


async def test_a_client_that_goes_is_noticed_by_the_model(server: ServerProcess) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(server.grpc) as client:
        tensor = tritonclient.grpc.aio.InferInput("INPUT0", [1], "FP32")
        tensor.set_data_from_numpy(np.array([60], np.float32))
        asking = asyncio.ensure_future(client.infer("slow", [tensor]))
        await asyncio.sleep(0.5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        tensor.set_data_from_numpy(np.array([0], np.float32))
        await client.infer("slow", [tensor], client_timeout=30)
    server.wait_for_log("SLOW saw the cancellation")


def test_a_stop_of_the_stream_is_noticed_by_the_model(server: ServerProcess) -> None:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        tensor = tritonclient.grpc.InferInput("INPUT0", [1], "FP32")
        tensor.set_data_from_numpy(np.array([60], np.float32))
        client.start_stream(callback=lambda result, error: None)
        client.async_stream_infer("slow", [tensor])
        client.stop_stream(cancel_requests=True)
        tensor.set_data_from_numpy(np.array([0], np.float32))
        client.infer("slow", [tensor], client_timeout=30)


def _inputs(module: Any, count: int) -> list[Any]:
    tensor = module.InferInput("INPUT0", [count], "FP32")
    tensor.set_data_from_numpy(np.arange(count, dtype=np.float32))
    return [tensor]


def _collect(result: Any, values: list[Any], finals: list[bool]) -> None:
    if result.as_numpy("OUTPUT0") is not None:
        values.append(result.as_numpy("OUTPUT0").tolist())
    finals.append(result.get_response().parameters["triton_final_response"].bool_param)
