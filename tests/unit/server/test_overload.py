"""Too many requests at once: who is refused, and what is said over each door."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from tests.unit.server.python_repository import Asked, ask, eventually, serving, write_python
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

import atoll
from atoll.errors import OverloadedError

PATIENCE_S = 30
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
TENSORS: dict[str, Any] = {"inputs": {"x": ("FP32", [1])}, "outputs": {"y": ("FP32", [1])}}
FULL = "the server has {} requests in flight, which is all that --max-inflight-requests allows: try again in 1 s"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [21]}]}).encode()


class Held:
    """A model whose executions wait until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, x: Any) -> Any:
        self.entered.release()
        assert self.open.wait(PATIENCE_S)
        return x * 2


@pytest.fixture
def held() -> Iterator[Held]:
    one = Held()
    yield one
    one.open.set()


def serving_held(held: Held, limit: int, **options: Any) -> atoll.Server:
    server = atoll.Server(max_inflight_requests=limit)
    server.add_model("held", held, **TENSORS, instances=4, **options)
    return server


def occupy(server: atoll.Server, held: Held, count: int) -> list[threading.Thread]:
    """Clients in the library whose requests execute."""
    threads = [threading.Thread(target=server.infer, args=("held", {"x": [1.0]})) for _ in range(count)]
    for thread in threads:
        thread.start()
        assert held.entered.acquire(timeout=PATIENCE_S)
    return threads


def freed(held: Held, threads: list[threading.Thread]) -> None:
    held.open.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_in_the_library(held: Held) -> None:
    with serving_held(held, 2) as server:
        threads = occupy(server, held, 2)
        with pytest.raises(OverloadedError) as caught:
            server.infer("held", {"x": [1.0]})
        assert (str(caught.value), caught.value.retry_after_s) == (FULL.format(2), 1)
        assert server.in_flight() == 2
        [statistics] = server.statistics("held")
        assert (statistics.failures["REJECTED"], statistics.in_flight_request_count) == (1, 2)
        freed(held, threads)
        assert server.infer("held", {"x": [1.0]})["y"].tolist() == [2.0]


def test_over_http(held: Held) -> None:
    server = serving_held(held, 1)
    with server, atoll.listen(server, **FREE) as listener:
        threads = occupy(server, held, 1)
        client = http.client.HTTPConnection("127.0.0.1", listener.http_port, timeout=PATIENCE_S)
        client.request("POST", "/v2/models/held/infer", BODY)
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert json.loads(answer.read()) == {"error": FULL.format(1)}
        with urlopen(f"http://127.0.0.1:{listener.metrics_port}/metrics") as page:
            text = page.read().decode()
        assert 'nv_inference_request_failure{model="held",reason="REJECTED",version="1"} 1\n' in text
        assert 'atoll_inference_in_flight_request_count{model="held",version="1"} 1\n' in text
        freed(held, threads)
        client.request("POST", "/v2/models/held/infer", BODY)
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (200, None)
        client.close()


def test_requests_that_are_sent_at_once_on_one_connection_count_one_by_one(held: Held) -> None:
    server = serving_held(held, 1)
    with server, atoll.listen(server, **FREE) as listener:
        threads = occupy(server, held, 1)
        head = b"POST /v2/models/held/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        with socket.create_connection(("127.0.0.1", listener.http_port), PATIENCE_S) as client:
            client.sendall((head + BODY) * 3)
            got = b""
            while got.count(b"try again") < 3:
                got += client.recv(1 << 16)
            assert got.count(b"503 Service Unavailable\r\nRetry-After: 1\r\n") == 3
            freed(held, threads)
            client.sendall(head + BODY)
            while b"200 OK" not in got:
                got += client.recv(1 << 16)
        eventually(lambda: server.in_flight() == 0, "all is answered")


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
def test_over_grpc(held: Held, transport: str) -> None:
    server = serving_held(held, 1)
    with server, atoll.listen(server, **FREE, grpc_transport=transport) as listener:
        threads = occupy(server, held, 1)
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        request = service_pb2.ModelInferRequest(model_name="held")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
        tensor.contents.fp32_contents.append(21)
        with grpc.insecure_channel(f"127.0.0.1:{listener.grpc_port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request, timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == FULL.format(1)
            trailing = dict(caught.value.trailing_metadata())
            assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("1", "1000")
            freed(held, threads)
            answer, call = stub.ModelInfer.with_call(request, timeout=PATIENCE_S)
            assert answer.outputs[0].name == "y"
            assert "retry-after" not in dict(call.trailing_metadata())


def test_each_request_of_a_grpc_stream_counts(held: Held) -> None:
    server = serving_held(held, 2)
    answers: Queue[tuple[Any, InferenceServerException | None]] = Queue()
    tensor = InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.array([21], np.float32))
    with (
        server,
        atoll.listen(server, **FREE) as listener,
        InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client,
    ):
        client.start_stream(lambda result, error: answers.put((result, error)))
        for _ in range(2):
            client.async_stream_infer("held", [tensor])
            assert held.entered.acquire(timeout=PATIENCE_S)
        client.async_stream_infer("held", [tensor])
        eventually(lambda: server.statistics("held")[0].failures["REJECTED"], "the third is refused")
        held.open.set()
        came = [answers.get(timeout=PATIENCE_S) for _ in range(3)]
        refused = [str(error) for _, error in came if error is not None]
        assert len(refused) == 1
        assert FULL.format(2) in refused[0]
        client.stop_stream()


def test_cancelled_and_failed_requests_make_room(held: Held) -> None:
    with serving_held(held, 2) as server:
        asked = [Sent(server) for _ in range(2)]
        with pytest.raises(OverloadedError):
            Sent(server)
        for one in asked:
            one.request.cancel()
        held.open.set()
        eventually(lambda: all(one.finals == 1 for one in asked), "they are answered")
        assert server.infer("held", {"x": [1.0]})["y"].tolist() == [2.0]
        with pytest.raises(atoll.AtollError, match="nonsense"):
            server.infer("held", {"nonsense": [1.0]})
        assert server._fleet._loader._admission.count == 0  # type: ignore[union-attr]


class Sent:
    """A request that was sent."""

    def __init__(self, server: atoll.Server) -> None:
        from atoll.request import InferenceRequest
        from atoll.tensor import Tensor

        self.finals = 0
        inputs = {"x": Tensor.from_numpy("x", np.ones(1, np.float32))}
        self.request = InferenceRequest("held", inputs, self)
        server.submit(self.request)

    def send(self, response: Any, final: bool) -> None:
        self.finals += final


CALLING = """
def each(request):
    response = call("called", value(request)).exec()
    if response.has_error():
        return pb.InferenceResponse(error=response.error())
    return answer(out(response))
"""
ECHO = "def each(request):\n    return answer(value(request))"
SLOW = """
def each(request):
    note(NOTES, "b")
    while not os.path.exists(NOTES + ".go"):
        time.sleep(0.001)
    return answer(value(request))
"""


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.slow
def test_what_models_ask_of_each_other_is_not_the_servers_but_the_models_own(tmp_path: Path, isolation: str) -> None:
    there = {"isolation": isolation}
    write_python(tmp_path, "calling", CALLING, parameters=there, instances=2)
    write_python(tmp_path, "called", ECHO, parameters=there)
    with serving(tmp_path, max_inflight_requests=1) as server:
        assert ask(server, "calling", [3]) == 3
    notes = write_python(tmp_path, "called", SLOW, parameters={**there, "max_inflight_requests": 1})
    with serving(tmp_path) as server:
        first = Asked(server, "calling", [1])
        eventually(notes.exists, "it executes")
        text = "model 'called' has 1 requests in flight, which is all that its parameter 'max_inflight_requests' allows"
        assert text in Asked(server, "calling", [2]).error
        with pytest.raises(OverloadedError, match=text):
            Asked(server, "called", [2])
        (tmp_path / "called" / "notes.go").touch()
        assert first.error == ""


STREAMING = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            note(NOTES, "b")
            for number in range(int(value(request)[0])):
                sender.send(answer(np.full(1, number, np.float32)))
            while not os.path.exists(NOTES + ".go"):
                time.sleep(0.001)
            sender.send(flags=FINAL)
"""


def test_a_request_counts_until_its_last_response(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "m", STREAMING, decoupled=True, parameters={"isolation": "thread"})
    with serving(tmp_path, max_inflight_requests=1) as server:
        streaming = Asked(server, "m", [3]).wait(3)
        assert notes.exists()
        with pytest.raises(OverloadedError):
            Asked(server, "m", [0])
        (tmp_path / "m" / "notes.go").touch()
        assert streaming.wait().values == [0, 1, 2]
        assert Asked(server, "m", [0]).wait().responses == []


def test_a_models_limit_that_is_none_is_refused_at_load(tmp_path: Path) -> None:
    write_python(tmp_path, "m", ECHO, parameters={"max_inflight_requests": "many"})
    with pytest.raises(atoll.AtollError, match="'max_inflight_requests' of model 'm' is 'many' but must be a whole"):
        serving(tmp_path).start()
