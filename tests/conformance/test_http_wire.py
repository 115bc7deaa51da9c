"""HTTP below the documents: framing, compression, connections. The same tests for Atoll and for the real server."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator

import pytest
from tests.conformance.process import HOST, ServerProcess
from tests.conformance.questions import BINARY_PAIR, HEADER_LENGTH, PAIR_BYTES, SIMPLE, request
from tests.conformance.wire import Exchange, chunked, request_bytes

BODY = json.dumps(request()).encode()
ANSWER = (
    b'{"model_name":"simple","model_version":"1","outputs":['
    b'{"name":"OUTPUT0","datatype":"INT32","shape":[1,16],"data":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]},'
    b'{"name":"OUTPUT1","datatype":"INT32","shape":[1,16],"data":[-1,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14]}]}'
)
BINARY_OUT = json.dumps({"inputs": BINARY_PAIR, "parameters": {"binary_data_output": True}}).encode()


@pytest.fixture(params=["atoll", pytest.param("real_triton", marks=pytest.mark.oracle)])
def server(request: pytest.FixtureRequest) -> ServerProcess:
    found: ServerProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, server.ports["http"]), 30) as connection:
        yield connection


def test_an_answer_is_spelled_as_it_always_was(server: ServerProcess) -> None:
    answer = server.exchange("POST", SIMPLE, body=BODY)
    assert answer.body == ANSWER
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(ANSWER))


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_a_compressed_body(server: ServerProcess, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    answer = server.exchange("POST", SIMPLE, body=compress(BODY), headers={"Content-Encoding": encoding})
    assert (answer.status, answer.body) == (200, ANSWER)


def test_a_compressed_body_with_binary_data(server: ServerProcess) -> None:
    headers = {"Content-Encoding": "gzip", HEADER_LENGTH: str(len(BINARY_OUT))}
    answer = server.exchange("POST", SIMPLE, body=gzip.compress(BINARY_OUT + PAIR_BYTES), headers=headers)
    length = int(answer.headers[HEADER_LENGTH.lower()])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert len(answer.body) == length + 128
    assert json.loads(answer.body[:length])["outputs"][1]["parameters"] == {"binary_data_size": 64}


def test_an_unknown_compression(server: ServerProcess) -> None:
    answer = server.exchange("POST", SIMPLE, body=BODY, headers={"Content-Encoding": "br"})
    assert answer.status == 501
    assert "Unsupported compression type" in answer.error
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("gzip;q=0", None),
        ("identity", None),
        ("identity, gzip", None),
        ("gzip;q=0.5, identity", None),
        ("identity;q=0.4, gzip;q=0.5", "gzip"),
        ("gzip;q=0.5;x=1, deflate;q=0.4", "gzip"),
        ("*;q=1, gzip;q=0.5", "gzip"),
        ("br", None),
        ("*", None),
    ],
)
def test_the_answer_is_compressed_as_asked(server: ServerProcess, accepted: str, encoding: str | None) -> None:
    answer = server.exchange("POST", SIMPLE, body=BODY, headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    expand = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding]
    assert expand(answer.body) == ANSWER


def test_a_compressed_answer_with_binary_data(server: ServerProcess) -> None:
    headers = {"Accept-Encoding": "gzip", HEADER_LENGTH: str(len(BINARY_OUT))}
    answer = server.exchange("POST", SIMPLE, body=BINARY_OUT + PAIR_BYTES, headers=headers)
    body = gzip.decompress(answer.body)
    assert len(body) == int(answer.headers[HEADER_LENGTH.lower()]) + 128


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_body_in_chunks(server: ServerProcess, size: int) -> None:
    headers = {"Transfer-Encoding": "chunked"}
    answer = server.exchange("POST", SIMPLE, body=chunked(BODY, size), headers=headers)
    assert (answer.status, answer.body) == (200, ANSWER)


def test_a_client_that_waits_for_leave_to_send_its_body(connection: socket.socket) -> None:
    headers = {"Expect": "100-continue", "Content-Length": str(len(BODY))}
    connection.sendall(request_bytes("POST", SIMPLE, None, headers))
    assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n")
    connection.sendall(BODY)
    assert Exchange.read(connection).body == ANSWER


def test_a_connection_is_kept(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(request_bytes("POST", SIMPLE, BODY))
        assert Exchange.read(connection).body == ANSWER
        connection.sendall(request_bytes("GET", "/v2/nope"))
        assert Exchange.read(connection).status == 404


def test_a_connection_is_closed_when_asked(connection: socket.socket) -> None:
    connection.sendall(request_bytes("GET", "/v2", None, {"Connection": "close"}))
    answer = Exchange.read(connection)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert connection.recv(1) == b""


def test_http_1_0_gets_an_answer_and_the_end(connection: socket.socket) -> None:
    connection.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
    received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b" 200 " in received.partition(b"\r\n")[0]


def test_a_body_that_comes_in_pieces(connection: socket.socket) -> None:
    data = request_bytes("POST", SIMPLE, BODY)
    for start in range(0, len(data), 50):
        connection.sendall(data[start : start + 50])
    assert Exchange.read(connection).body == ANSWER


def test_header_names_in_any_case(server: ServerProcess) -> None:
    headers = {HEADER_LENGTH.upper(): str(len(BINARY_OUT))}
    answer = server.exchange("POST", SIMPLE, body=BINARY_OUT + PAIR_BYTES, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "FOO"])
def test_methods_that_no_path_has(connection: socket.socket, method: str) -> None:
    connection.sendall(request_bytes(method, "/v2/models/simple"))
    status = connection.recv(4096).split(b" ")[1]
    # A method that HTTP does not have is a bad request for Atoll's parser, and like any other for the real server's.
    assert status in ((b"400", b"405") if method == "FOO" else (b"405",))


def test_what_is_no_http_is_not_answered_with_success(connection: socket.socket) -> None:
    connection.sendall(b"garbage\r\n\r\n")
    answer = connection.recv(4096)
    assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0]


def test_requests_sent_at_once_are_answered_in_turn(atoll: ServerProcess) -> None:
    """The real server drops all but the first."""
    with socket.create_connection((HOST, atoll.ports["http"]), 30) as connection:
        connection.sendall(request_bytes("POST", SIMPLE, BODY) + request_bytes("GET", "/v2/health/live"))
        received = bytearray()
        assert Exchange.read(connection, received).body == ANSWER
        assert Exchange.read(connection, received).status == 200
        assert not received
