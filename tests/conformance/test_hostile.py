"""Input that is made to do harm: each gets a clear refusal or the end of its connection, and the server goes on."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conformance.clients import any_client, pair
from tests.conformance.models import write_onnx_repository
from tests.conformance.process import HOST, ServerProcess, start_atoll
from tests.conformance.questions import FIRST, SECOND, SIMPLE, request
from tests.conformance.wire import Exchange, chunked, request_bytes
from tritonclient.grpc import service_pb2, service_pb2_grpc

Request = service_pb2.ModelInferRequest
Tensor = Request.InferInputTensor
LIMIT = 1 << 20
MANY = 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    repository = write_onnx_repository(folder / "models", "simple", "identity_bytes")
    with start_atoll(repository, folder / "log", f"--http-max-input-size={LIMIT}") as server:
        yield server


@pytest.fixture(autouse=True)
def goes_on(server: ServerProcess) -> Iterator[None]:
    """After each test, others are served as before."""
    yield
    assert server.exchange("GET", "/v2/health/ready").status == 200
    for kind in ("http", "grpc"):
        with any_client(kind, server) as client:
            assert (client.infer("simple", pair()).as_numpy("OUTPUT0") == pair()["INPUT0"] + 1).all()


def exchange_bytes(server: ServerProcess, data: bytes) -> Exchange:
    """Send these bytes, however many the server takes, and read what comes."""
    with socket.create_connection((HOST, server.ports["http"]), 30) as connection:
        try:
            connection.sendall(data)
            return Exchange.read(connection)
        except ConnectionError:
            return Exchange(0, {}, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * (4 * LIMIT),
        b"GET /v2 HTTP/1.1\r\nX: " + b"a" * (4 * LIMIT),
        b"GET /v2 HTTP/1.1\r\n" + b"X: a\r\n" * MANY,
        b"POST " + SIMPLE.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * (4 * LIMIT),
        b"POST " + SIMPLE.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * (4 * LIMIT),
        b"POST " + SIMPLE.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * MANY,
        b"\x00" * LIMIT,
    ],
    ids=["request line", "header", "headers", "chunk size", "chunk extension", "trailers", "zeros"],
)
def test_a_head_without_end(server: ServerProcess, data: bytes) -> None:
    answer = exchange_bytes(server, data)
    assert answer.status == 0 or 400 <= answer.status < 500


@pytest.mark.parametrize("framing", ["length", "chunks", "gzip"])
def test_a_body_over_the_limit(server: ServerProcess, framing: str) -> None:
    body, headers = b" " * (LIMIT + 1), {}
    if framing == "chunks":
        body, headers = chunked(body, 60_000), {"Transfer-Encoding": "chunked"}
    if framing == "gzip":
        body, headers = gzip.compress(b" " * (200 * LIMIT)), {"Content-Encoding": "gzip"}
        assert len(body) < LIMIT
    answer = exchange_bytes(server, request_bytes("POST", SIMPLE, body, headers))
    assert 400 <= answer.status < 500
    assert str(LIMIT) in answer.error


def test_a_body_at_the_limit(server: ServerProcess) -> None:
    body = json.dumps(request()).encode()
    assert exchange_bytes(server, request_bytes("POST", SIMPLE, body + b" " * (LIMIT - len(body)))).status == 200


@pytest.mark.parametrize("length", ["-1", "abc", "99999999999999999999", "1, 2", "0x10"])
def test_a_content_length_that_is_none(server: ServerProcess, length: str) -> None:
    answer = exchange_bytes(server, request_bytes("POST", SIMPLE, None, {"Content-Length": length}))
    assert answer.status == 0 or 400 <= answer.status < 500


def test_a_length_and_chunks(server: ServerProcess) -> None:
    """What one server on the way takes for the end of a body must not be another's beginning of a request."""
    headers = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    answer = exchange_bytes(server, request_bytes("POST", SIMPLE, None, headers) + b"0\r\n\r\n")
    assert answer.status == 0 or 400 <= answer.status < 500


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [{**FIRST, "shape": [1] * MANY}, SECOND]},
        {"inputs": [{**FIRST, "shape": [2**62] * (LIMIT // 30)}, SECOND]},
        {"inputs": [FIRST] * 5000},
        {"inputs": [{**FIRST, "name": f"I{i}"} for i in range(5000)]},
        {"inputs": [{**FIRST, "name": "x" * (LIMIT // 2)}, SECOND]},
        {"inputs": [FIRST, SECOND], "outputs": [{"name": f"O{i}"} for i in range(20_000)]},
        {"inputs": [FIRST], "id": "x" * (LIMIT // 2)},
        {"inputs": [{**FIRST, "data": [10**4000] * 16}, SECOND]},
    ],
    ids=["dimensions", "huge dimensions", "one input", "inputs", "name", "outputs", "id", "digits"],
)
def test_a_document_with_too_much_of_something(server: ServerProcess, document: dict[str, Any]) -> None:
    answer = server.exchange("POST", SIMPLE, body=json.dumps(document, separators=(",", ":")).encode())
    assert 400 <= answer.status <= 500
    assert answer.error


@pytest.mark.parametrize(
    "text", ["[" * (LIMIT - 10), '{"a":' * (LIMIT // 6), '{"inputs":[{"data":' + "[" * (LIMIT // 2)]
)
def test_nesting_without_end(server: ServerProcess, text: str) -> None:
    answer = server.exchange("POST", SIMPLE, body=text.encode())
    assert 400 <= answer.status <= 500
    assert answer.error


@pytest.mark.parametrize(
    "message",
    [
        Request(
            model_name="simple",
            inputs=[Tensor(name="INPUT0", datatype="INT32", shape=[2**62] * MANY)] * 2,
        ),
        Request(
            model_name="simple",
            inputs=[Tensor(name=f"I{i}", datatype="INT32") for i in range(MANY // 10)],
            raw_input_contents=[b""] * (MANY // 10),
        ),
        Request(model_name="x" * LIMIT),
        Request(model_name="simple", id="x" * LIMIT),
        Request(model_name="simple", raw_input_contents=[b""] * MANY),
        Request(
            model_name="identity_bytes",
            inputs=[Tensor(name="INPUT0", datatype="BYTES", shape=[1, 2**40])],
            raw_input_contents=[b"\0" * (4 * MANY)],
        ),
    ],
    ids=["dimensions", "inputs", "name", "id", "raw contents", "strings"],
)
def test_a_message_with_too_much_of_something(server: ServerProcess, message: Any) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message, timeout=30)
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert len(caught.value.details()) < 20_000


@pytest.mark.parametrize("origin", ["http://example.com", "null", "http://localhost.example.com"])
def test_a_web_page_may_not_control_the_server(server: ServerProcess, origin: str) -> None:
    path = "/v2/repository/index"
    assert server.exchange("POST", path, body=b"", headers={"Origin": origin}).status == 403
    own = {"Origin": f"http://{server.http}", "Host": server.http}
    assert server.exchange("POST", path, body=b"", headers=own).status == 200
    assert server.exchange("POST", path, body=b"").status == 200
    assert server.exchange("GET", "/v2/health/ready", headers={"Origin": origin}).status == 200


def test_the_log_does_not_grow_with_it(server: ServerProcess, tmp_path: Path) -> None:
    before = len(server.log_text())
    for _ in range(50):
        server.exchange("POST", SIMPLE, body=b"{")
        exchange_bytes(server, b"\0\0\0\r\n\r\n")
    assert len(server.log_text()) == before
