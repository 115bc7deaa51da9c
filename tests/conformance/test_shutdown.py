"""How the server process ends: nobody's request is lost, newcomers hear why, and it ends in any case."""

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conformance.gated import GatedServer, start_gated
from tests.conformance.process import HOST, ServerProcess, wait_until
from tests.conformance.wire import Exchange, request_bytes
from tritonclient.grpc import service_pb2, service_pb2_grpc

BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}]}).encode()
BATCH_BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 1], "data": [7]}]}).encode()
STOPPING = "Server is stopping, scheduler for model 'plain' has stopped accepting new inference requests"
LEFT_BEHIND = "Exit timeout expired. Exiting immediately."


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatedServer]:
    """A server of the test's own, with the options that it is parametrized with."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    options = parameters.get("options", ())
    with start_gated(tmp_path, *options) as gated:
        yield gated


def infer_over_http(server: ServerProcess, model: str, body: bytes) -> Exchange:
    return server.exchange("POST", f"/v2/models/{model}/infer", body=body, timeout_s=60)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGTERM, ()),
        (signal.SIGINT, ()),
        (signal.SIGTERM, ("--grpc-transport=grpcio",)),
        (signal.SIGTERM, ("--drive-on-submit=false",)),
    ],
)
def test_requests_in_flight_and_waiting_are_answered(
    server: GatedServer, number: signal.Signals, options: tuple[str, ...]
) -> None:
    process = server.process
    with server.closed("batched") as batched, server.closed("plain") as plain, ThreadPoolExecutor(4) as threads:
        futures = [*batched.hold([1, 1, 1]), *plain.hold([1, 1])]
        over_http = [threads.submit(infer_over_http, process, "plain", BODY) for _ in range(2)]
        plain.wait_queued(4)
        over_http += [threads.submit(infer_over_http, process, "batched", BATCH_BODY) for _ in range(2)]
        batched.wait_queued(5)
        process.process.send_signal(number)
        process.wait_for_log("Waiting for in-flight requests to complete.")
        batched.open()
        plain.open()
        answers = [future.result() for future in futures]
        assert [answer.model_name for answer in answers] == ["batched"] * 4 + ["plain"] * 3
        assert [call.result().status for call in over_http] == [200] * 4
    assert process.wait() == 0
    assert LEFT_BEHIND not in process.log_text()


def test_a_stream_gets_the_answers_it_waits_for(server: GatedServer) -> None:
    process = server.process
    with server.closed("plain") as plain, grpc.insecure_channel(process.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        done = threading.Event()
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="INT32", shape=[1])
        message = service_pb2.ModelInferRequest(model_name="plain", inputs=[tensor], raw_input_contents=[b"\7\0\0\0"])

        def messages() -> Iterator[Any]:
            yield message
            done.wait(60)

        stream = stub.ModelStreamInfer(messages(), timeout=60)
        plain.wait_executing()
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        plain.open()
        assert next(stream).infer_response.raw_output_contents == [b"\7\0\0\0"]
        done.set()
        with contextlib.suppress(grpc.RpcError):  # the end of the connection may come before that of the stream
            assert list(stream) == []
    assert process.wait() == 0


def test_requests_that_wait_for_a_queue_delay_are_answered(server: GatedServer) -> None:
    """Nobody can join their batch any more, so that they need not wait: the delay is longer than the exit timeout."""
    process = server.process
    with server.closed("patient") as patient:
        futures = [patient.send(1), patient.send(2)]
        patient.wait_queued(2)
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        patient.open()
        assert [future.result().model_name for future in futures] == ["patient", "patient"]
    assert process.wait() == 0


@pytest.mark.parametrize("options", [(), ("--grpc-transport=grpcio",)])
def test_newcomers_are_refused_with_the_reason(server: GatedServer, options: tuple[str, ...]) -> None:
    """While a request is still being executed: over a connection from before, and a new one."""
    process = server.process
    with (
        server.closed("plain") as plain,
        socket.create_connection((HOST, process.ports["http"]), 30) as before,
        grpc.insecure_channel(process.grpc) as channel,
    ):
        before.sendall(request_bytes("GET", "/v2/health/ready"))
        assert Exchange.read(before).status == 200
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=30).ready
        (first,) = plain.hold()
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        wait_until(lambda: not ready(process), "refusal", process)
        before.sendall(request_bytes("POST", "/v2/models/plain/infer", BODY))
        refused = Exchange.read(before)
        assert refused.status == 503
        assert STOPPING in refused.error
        with pytest.raises(grpc.RpcError) as caught:
            plain.send(1).result()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert STOPPING in caught.value.details()
        assert not stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=30).ready
        plain.open()
        assert first.result().model_name == "plain"
    assert process.wait() == 0


def test_idle_connections_do_not_hold_the_end_up(server: GatedServer) -> None:
    process = server.process
    with (
        socket.create_connection((HOST, process.ports["http"]), 30) as idle,
        socket.create_connection((HOST, process.ports["http"]), 30) as half,
        socket.create_connection((HOST, process.ports["metrics"]), 30),
        socket.create_connection((HOST, process.ports["grpc"]), 30),
        grpc.insecure_channel(process.grpc) as channel,
    ):
        idle.sendall(request_bytes("GET", "/v2/health/ready"))
        assert Exchange.read(idle).status == 200
        half.sendall(b"POST /v2/models/plain/infer HTTP/1.1\r\nContent-Le")
        grpc.channel_ready_future(channel).result(30)
        process.terminate()
        assert process.wait(25) == 0  # the exit timeout is 30 s
        assert idle.recv(1) == b""
    assert LEFT_BEHIND not in process.log_text()


@pytest.mark.parametrize("options", [("--shutdown-delay-secs=3",)])
def test_during_the_delay_it_is_not_ready_and_serves(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with grpc.insecure_channel(process.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == b"\x08\x01"  # SERVING
        process.terminate()
        wait_until(lambda: not ready(process), "notice", process)
        assert process.exchange("GET", "/v2/health/live").status == 200
        assert infer_over_http(process, "plain", BODY).status == 200
        assert infer_over_http(process, "batched", BATCH_BODY).status == 200
        assert not stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=30).ready
        assert stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=30).live
        assert check(b"", timeout=30) == b"\x08\x02"  # NOT_SERVING
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="INT32", shape=[1])
        message = service_pb2.ModelInferRequest(model_name="plain", inputs=[tensor], raw_input_contents=[b"\7\0\0\0"])
        assert stub.ModelInfer(message, timeout=30).model_name == "plain"
        assert "Waiting for in-flight requests" not in process.log_text()
    assert process.wait() == 0


@pytest.mark.parametrize("options", [("--exit-timeout-secs=1",), ("--exit-timeout-secs=0",)])
def test_the_exit_timeout_ends_it_though_requests_are_left(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with server.closed("plain") as plain, ThreadPoolExecutor(1) as threads:
        futures = plain.hold([1])
        over_http = threads.submit(infer_over_http, process, "plain", BODY)
        plain.wait_queued(2)
        process.terminate()
        assert process.wait(30) == 1
        assert LEFT_BEHIND in process.log_text()
        for future in futures:
            with pytest.raises(grpc.RpcError) as caught:
                future.result()
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert over_http.result().status in (0, 503)


def test_a_second_signal_ends_it_at_once(server: GatedServer) -> None:
    process = server.process
    with server.closed("plain") as plain:
        plain.hold()
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def ready(server: ServerProcess) -> bool:
    return server.exchange("GET", "/v2/health/ready").status == 200
