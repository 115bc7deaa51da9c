"""What only some of the official clients can do: calls that run at the same time, deadlines, cancellation, streams."""

import asyncio
import queue
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tests.conformance.clients import any_client, pair
from tests.conformance.gated import GatedServer
from tests.conformance.metrics import sample
from tests.conformance.process import HOST, ServerProcess
from tests.conformance.wire import request_bytes
from tritonclient.utils import InferenceServerException


def tensors(package: Any, start: int = 0) -> list[Any]:
    """The inputs of `simple`, for one request."""
    return [package_input(package, name, array) for name, array in pair(start=start).items()]


def package_input(package: Any, name: str, array: Any) -> Any:
    tensor = package.InferInput(name, list(array.shape), "INT32")
    tensor.set_data_from_numpy(array)
    return tensor


def one(package: Any, value: int = 7) -> list[Any]:
    """The input of a gated model that does not batch."""
    return [package_input(package, "INPUT0", np.array([value], np.int32))]


@pytest.fixture
def http_client(atoll: ServerProcess) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(atoll.http, concurrency=8) as client:
        yield client


@pytest.fixture
def grpc_client(atoll: ServerProcess) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(atoll.grpc) as client:
        yield client


def test_http_async_infer(http_client: Any) -> None:
    calls = [http_client.async_infer("simple", tensors(tritonclient.http, i)) for i in range(40)]
    for i, call in enumerate(calls):
        np.testing.assert_array_equal(call.get_result().as_numpy("OUTPUT0"), pair(start=i)["INPUT0"] + 1)


def test_http_async_infer_gives_the_error(http_client: Any) -> None:
    call = http_client.async_infer("nope", tensors(tritonclient.http, 0))
    with pytest.raises(InferenceServerException, match="unknown model: 'nope'"):
        call.get_result()


def test_grpc_async_infer(grpc_client: Any) -> None:
    answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()

    def answered(i: int) -> Callable[[Any, Any], None]:
        return lambda result, error: answers.put((i, result, error))

    for i in range(40):
        grpc_client.async_infer("simple", tensors(tritonclient.grpc, i), answered(i))
    for _ in range(40):
        i, result, error = answers.get(timeout=30)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair(start=i)["INPUT0"] + 1)


def test_threads_share_a_server(atoll: ServerProcess) -> None:
    def ask(kind: str, number: int) -> bool:
        with any_client(kind, atoll) as client:
            results = [client.infer("simple", pair(rows=number, start=i)).as_numpy("OUTPUT0") for i in range(10)]
            return all((result == pair(number, i)["INPUT0"] + 1).all() for i, result in enumerate(results))

    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(ask, kind, number) for kind in ("http", "grpc") for number in (1, 2, 3, 8)]
        assert all(call.result(timeout=60) for call in calls)


def test_a_grpc_deadline_ends_the_call_and_nothing_else(gated: GatedServer) -> None:
    with gated.closed("plain") as closed, tritonclient.grpc.InferenceServerClient(gated.process.grpc) as client:
        with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
            client.infer("plain", one(tritonclient.grpc), client_timeout=0.2)
        closed.open()
        assert client.infer("plain", one(tritonclient.grpc)).as_numpy("OUTPUT0").tolist() == [7]


def test_an_http_timeout_ends_the_call_and_nothing_else(gated: GatedServer) -> None:
    address = gated.process.http
    with gated.closed("plain") as closed:
        with (
            tritonclient.http.InferenceServerClient(address, network_timeout=0.2) as client,
            pytest.raises(TimeoutError),
        ):
            client.infer("plain", one(tritonclient.http))
        closed.open()
        with tritonclient.http.InferenceServerClient(address) as client:
            assert client.infer("plain", one(tritonclient.http)).as_numpy("OUTPUT0").tolist() == [7]


@pytest.mark.parametrize("model", ["plain", "batched"])
def test_a_request_that_is_cancelled_while_it_waits_is_not_executed(gated: GatedServer, model: str) -> None:
    with gated.closed(model) as closed:
        executions, counted = Counter(closed.batches()), cancelled(gated, model)
        first, second, third = closed.hold([1, 1])
        second.cancel()
        closed.wait_queued(1)  # at once, not when its turn comes
        closed.open()
        first.result()
        assert third.result().raw_output_contents == [(2).to_bytes(4, "little")]
        assert second.cancelled()
        assert Counter(closed.batches()) - executions == Counter([1, 1])
        assert cancelled(gated, model) == counted + 1


def test_a_request_that_is_cancelled_while_it_is_executed(gated: GatedServer) -> None:
    with gated.closed("plain") as closed:
        (first,) = closed.hold()
        first.cancel()
        waiting = closed.send(5)
        closed.wait_queued(1)
        closed.open()
        assert waiting.result().raw_output_contents == [(5).to_bytes(4, "little")]


async def test_many_at_once_over_http_aio(atoll: ServerProcess) -> None:
    async with tritonclient.http.aio.InferenceServerClient(atoll.http) as client:
        package = tritonclient.http
        results = await asyncio.gather(*(client.infer("simple", tensors(package, i)) for i in range(60)))
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), pair(start=i)["INPUT0"] - 1)


async def test_many_at_once_over_grpc_aio(atoll: ServerProcess) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(atoll.grpc) as client:
        package = tritonclient.grpc
        results = await asyncio.gather(*(client.infer("simple", tensors(package, i)) for i in range(60)))
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), pair(start=i)["INPUT0"] - 1)


async def test_a_cancelled_task_over_grpc_aio(gated: GatedServer) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(gated.process.grpc) as client:
        with gated.closed("plain") as closed:
            task = asyncio.create_task(client.infer("plain", one(tritonclient.grpc)))
            await asyncio.to_thread(closed.wait_executing)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        result = await client.infer("plain", one(tritonclient.grpc))
        assert result.as_numpy("OUTPUT0").tolist() == [7]


def test_a_stream(grpc_client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc_client.start_stream(lambda result, error: answers.put((result, error)))
    for i in range(20):
        grpc_client.async_stream_infer("simple", tensors(tritonclient.grpc, i), request_id=str(i))
    for i in range(20):
        result, error = answers.get(timeout=30)
        assert error is None
        assert result.get_response().id == str(i)
        assert result.get_response().parameters["triton_final_response"].bool_param
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair(start=i)["INPUT0"] + 1)
    grpc_client.stop_stream()


def test_an_error_leaves_the_stream_open(grpc_client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc_client.start_stream(lambda result, error: answers.put((result, error)))
    grpc_client.async_stream_infer("nope", tensors(tritonclient.grpc, 0))
    grpc_client.async_stream_infer("simple", tensors(tritonclient.grpc, 0))
    result, error = answers.get(timeout=30)
    assert result is None
    assert "unknown model: 'nope'" in str(error)
    assert answers.get(timeout=30)[1] is None
    grpc_client.stop_stream()


def test_an_execution_error_ends_the_stream_that_asks_for_it(grpc_client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc_client.start_stream(lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"})
    tensor = tritonclient.grpc.InferInput("INPUT0", [2], "INT32")
    tensor.set_data_from_numpy(np.array([5, 6], np.int32))
    grpc_client.async_stream_infer("failing", [tensor])
    result, error = answers.get(timeout=30)
    assert result is None
    assert error.status() in ("StatusCode.INTERNAL", "StatusCode.INVALID_ARGUMENT")
    grpc_client.stop_stream()


async def test_a_stream_over_grpc_aio(atoll: ServerProcess) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for i in range(20):
            yield {"model_name": "simple", "inputs": tensors(tritonclient.grpc, i), "request_id": str(i)}

    async with tritonclient.grpc.aio.InferenceServerClient(atoll.grpc) as client:
        ids = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            ids.append(result.get_response().id)
    assert ids == [str(i) for i in range(20)]


def test_a_stream_whose_client_goes_away(gated: GatedServer) -> None:
    with gated.closed("plain") as closed:
        with tritonclient.grpc.InferenceServerClient(gated.process.grpc) as client:
            client.start_stream(lambda result, error: None)
            client.async_stream_infer("plain", one(tritonclient.grpc))
            closed.wait_executing()
            client.stop_stream(cancel_requests=True)
        waiting = closed.send(5)
        closed.wait_queued(1)
        closed.open()
        assert waiting.result().raw_output_contents == [(5).to_bytes(4, "little")]


def test_an_http_client_that_goes_away(gated: GatedServer) -> None:
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1],"data":[300]}]}'
    whole = request_bytes("POST", "/v2/models/plain/infer", body)
    port = gated.process.ports["http"]
    with gated.closed("plain") as closed:
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(whole)
            closed.wait_executing()
        for sent in (10, len(whole) - 5):
            with socket.create_connection((HOST, port)) as connection:
                connection.sendall(whole[:sent])
        waiting = closed.send(5)
        closed.wait_queued(1)
        closed.open()
        assert waiting.result().raw_output_contents == [(5).to_bytes(4, "little")]


def test_an_http_client_that_goes_away_while_it_waits(gated: GatedServer) -> None:
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1],"data":[300]}]}'
    with gated.closed("plain") as closed:
        (first,) = closed.hold()
        counted = cancelled(gated, "plain")
        with socket.create_connection((HOST, gated.process.ports["http"])) as connection:
            connection.sendall(request_bytes("POST", "/v2/models/plain/infer", body))
            closed.wait_queued(1)
        closed.wait_queued(0)
        assert cancelled(gated, "plain") == counted + 1
        closed.open()
        assert first.result().raw_output_contents


def cancelled(gated: GatedServer, model: str) -> float:
    return sample(gated.process, "nv_inference_request_failure", model=model, reason="CANCELED")
