"""Every gRPC call stands once in the access log, and so does each request of a stream, on both transports."""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import uvloop
from tests.unit.frontends.grpc_servicer.conftest import WAIT_S, Engine
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from atoll.errors import UnavailableError
from atoll.frontends.access_log import AccessLog
from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.request import InferenceResponse


class Logged:
    """A frontend with an access log on its own thread, and a stub."""

    def __init__(self, transport: str, path: Path):
        self.engine = Engine()
        self._path = path
        self.log = AccessLog(str(path))
        self._options = GrpcOptions(port=0, transport=transport)  # type: ignore[arg-type]
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._live()))
        self._thread.start()
        assert self._up.wait(WAIT_S)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.frontend.addresses[0][1]}")
        self.stub = GRPCInferenceServiceStub(self.channel)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        context = FrontendContext(self.engine, access_log=self.log)  # type: ignore[arg-type]
        self.frontend = GrpcFrontend(self.engine, self._options, context)  # type: ignore[arg-type]
        await self.frontend.start()
        self._up.set()
        await self._over.wait()
        await self.frontend.stop()

    def close(self) -> None:
        self.channel.close()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_S)
        self.log.close()

    def lines(self, count: int) -> list[dict[str, Any]]:
        """So many, as soon as they are there."""
        deadline = time.monotonic() + WAIT_S
        while True:
            assert self.log.flush(WAIT_S)
            lines = [json.loads(line) for line in self._path.read_text().splitlines()]
            if len(lines) >= count:
                assert len(lines) == count, lines
                return lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.01)

    def line(self) -> dict[str, Any]:
        return self.lines(1)[0]


@pytest.fixture
def logged(transport: str, tmp_path: Path) -> Iterator[Logged]:
    one = Logged(transport, tmp_path / "access.log")
    yield one
    one.close()


def infer(model: str, id: str = "", name: str = "IN") -> Any:
    tensor = triton.ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=[1, 2])
    raw = np.ones(2, np.float32).tobytes()
    return triton.ModelInferRequest(model_name=model, id=id, inputs=[tensor], raw_input_contents=[raw])


@pytest.mark.parametrize("model", ["at_once", "soon", "thread"])
def test_an_inference(logged: Logged, model: str) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace}-b7ad6b7169203331-01"), ("x-request-id", "abc"), ("x-bin", b"\xff"))
    asked = infer(model, "mine")
    answer = logged.stub.ModelInfer(asked, timeout=WAIT_S, metadata=metadata)
    line = logged.line()
    assert line.pop("peer").startswith("127.0.0.1:")
    assert line.pop("duration_us") >= 0
    assert line.pop("time")
    assert line == {
        "protocol": "grpc",
        "method": "ModelInfer",
        "path": "/inference.GRPCInferenceService/ModelInfer",
        "status": "OK",
        "bytes_in": asked.ByteSize(),
        "bytes_out": answer.ByteSize(),
        "model": model,
        "version": "1",
        "request_id": "mine",
        "x_request_id": "abc",
        "trace_id": trace,
    }


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda stub: stub.ModelInfer(infer("nobody", "me"), timeout=WAIT_S), ("NOT_FOUND", "nobody", "me")),
        (
            lambda stub: stub.ModelInfer(infer("soon", "me", "WRONG"), timeout=WAIT_S),
            ("INVALID_ARGUMENT", "soon", "me"),
        ),
        (lambda stub: stub.ModelInfer(infer("failing", "me"), timeout=WAIT_S), ("UNAVAILABLE", "failing", "me")),
        (lambda stub: stub.ModelInfer(infer("unencodable"), timeout=WAIT_S), ("INTERNAL", "unencodable", None)),
        (lambda stub: stub.ServerLive(triton.ServerLiveRequest(), timeout=WAIT_S), ("OK", None, None)),
        (lambda stub: stub.ModelConfig(triton.ModelConfigRequest(name="soon"), timeout=WAIT_S), ("OK", "soon", None)),
        (
            lambda stub: stub.ModelMetadata(triton.ModelMetadataRequest(name="nobody"), timeout=WAIT_S),
            ("NOT_FOUND", "nobody", None),
        ),
        (
            lambda stub: stub.RepositoryModelLoad(triton.RepositoryModelLoadRequest(model_name="m"), timeout=WAIT_S),
            ("OK", "m", None),
        ),
        (
            lambda stub: stub.ModelReady(triton.ModelReadyRequest(name="soon", version="1"), timeout=WAIT_S),
            ("OK", "soon", None),
        ),
    ],
)
def test_each_call_with_its_status(logged: Logged, ask: Callable[[Any], Any], expected: tuple[str, str, str]) -> None:
    try:
        ask(logged.stub)
        status = "OK"
    except grpc.RpcError as error:
        status = error.code().name  # type: ignore[attr-defined]
    line = logged.line()
    assert status == expected[0]
    assert (line["status"], line.get("model"), line.get("request_id")) == expected


def test_a_call_that_its_client_cancels(logged: Logged) -> None:
    call = logged.stub.ModelInfer.future(infer("held", "left"), timeout=WAIT_S)
    request = logged.engine.models_by_name["held"].next()
    call.cancel()
    line = logged.line()
    assert (line["status"], line["request_id"], line["bytes_out"]) == ("CANCELLED", "left", 0)
    request.sender.send(InferenceResponse("held", "1"), True)


def test_the_requests_of_a_stream_and_the_stream(logged: Logged) -> None:
    asked = [infer("soon", "a"), infer("nobody", "b"), infer("failing", "c"), infer("at_once", "d")]
    answers = list(logged.stub.ModelStreamInfer(iter(asked), timeout=WAIT_S))
    *requests, whole = logged.lines(5)
    assert [line["in_stream"] for line in requests] == [True] * 4
    by_id = {line["request_id"]: line for line in requests}
    assert {name: (line["status"], line["model"], line["responses"]) for name, line in by_id.items()} == {
        "a": ("OK", "soon", 1),
        "b": ("NOT_FOUND", "nobody", 1),
        "c": ("UNAVAILABLE", "failing", 1),
        "d": ("OK", "at_once", 1),
    }
    assert by_id["a"]["version"] == "1"
    assert [by_id[one.id]["bytes_in"] for one in asked] == [one.ByteSize() for one in asked]
    assert (whole["status"], whole["requests"]) == ("OK", 4)
    assert "in_stream" not in whole
    sizes = sum(one.ByteSize() for one in answers)
    assert whole["bytes_out"] == sum(line["bytes_out"] for line in requests) == sizes
    assert whole["bytes_in"] == sum(one.ByteSize() for one in asked)


def test_a_decoupled_models_responses_are_counted(logged: Logged) -> None:
    answers = logged.stub.ModelStreamInfer(iter([infer("decoupled", "many")]), timeout=WAIT_S)
    request = logged.engine.models_by_name["decoupled"].next()
    for _ in range(3):
        request.sender.send(InferenceResponse("decoupled", "1", request.id), False)
    request.sender.send(None, True)
    assert len(list(answers)) == 3
    one, _ = logged.lines(2)
    assert (one["request_id"], one["responses"], one["status"]) == ("many", 3, "OK")


def test_a_stream_that_its_client_leaves(logged: Logged) -> None:
    waiting: queue.Queue[Any] = queue.Queue()
    waiting.put(infer("held", "left"))
    call = logged.stub.ModelStreamInfer(iter(waiting.get, None), timeout=WAIT_S)
    request = logged.engine.models_by_name["held"].next()
    call.cancel()
    waiting.put(None)
    lines = {line.get("request_id", ""): line for line in logged.lines(2)}
    assert (lines["left"]["status"], lines[""]["status"]) == ("CANCELLED", "CANCELLED")
    request.sender.send(InferenceResponse("held", "1", error=UnavailableError("too late")), True)
