"""A request leaves no reference cycle behind: its tensors are freed when it ends, not when a collection comes round."""

import asyncio
import gc
import http.client
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc

import atoll
from atoll.frontends.grpc.choose import TransportName, choose_transport
from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
REQUESTS = 50


@pytest.fixture
def on_a_loop() -> Iterator[Callable[[Callable[[], Awaitable[object]]], None]]:
    """Runs a coroutine on an event loop in another thread, and waits for it."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work(), loop).result(30)  # type: ignore[arg-type,return-value]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def leftovers(ask: Callable[[], object]) -> list[str]:
    """The types of ours that only a collection could free after so many requests."""
    ask()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(REQUESTS):
            ask()
        time.sleep(0.05)  # the server's side of the last one
        gc.collect()
        return [type(one).__name__ for one in gc.garbage if type(one).__module__.startswith("atoll")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
def test_grpc(on_a_loop: Callable[..., None], transport: TransportName) -> None:
    try:
        choose_transport(transport)
    except atoll.MissingExtraError as missing:
        pytest.skip(str(missing))
    request = service_pb2.ModelInferRequest(model_name="simple")
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        request.raw_input_contents.append(bytes(64))
    with atoll.Server(EXAMPLES) as server:
        frontend = GrpcFrontend(server, GrpcOptions(port=0, transport=transport))
        on_a_loop(frontend.start)
        with grpc.insecure_channel(f"127.0.0.1:{frontend.addresses[0][1]}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert leftovers(lambda: stub.ModelInfer(request, timeout=20)) == []
        on_a_loop(frontend.stop)


def test_http(on_a_loop: Callable[..., None]) -> None:
    body = b'{"inputs":[%s]}' % b",".join(
        b'{"name":"%s","datatype":"INT32","shape":[1,16],"data":[%s]}' % (name, b",".join([b"1"] * 16))
        for name in (b"INPUT0", b"INPUT1")
    )
    with atoll.Server(EXAMPLES) as server:
        frontend = HttpFrontend(server, HttpOptions(port=0))
        on_a_loop(frontend.start)
        connection = http.client.HTTPConnection("127.0.0.1", frontend.addresses[0][1], timeout=20)

        def ask() -> None:
            connection.request("POST", "/v2/models/simple/infer", body)
            assert connection.getresponse().read().startswith(b'{"model_name":"simple"')

        assert leftovers(ask) == []
        connection.close()
        on_a_loop(frontend.stop)
