"""What strangers do to an open port, on each kind of it. After each test others are served, and nothing is held."""

import asyncio
import contextlib
import gc
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.frontends.grpc.frames import DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, headers
from tests.unit.frontends.http.wire import infer
from tests.unit.frontends.listening.conftest import LIVE, Holdings, Served, reset, wait_until

from atoll.frontends.listening import acceptor as acceptors

pytestmark = pytest.mark.slow  # it waits for clients that say nothing

TIMES = {"handshake_timeout_s": 0.3, "header_timeout_s": 0.3, "body_timeout_s": 0.3, "linger_timeout_s": 0.3}
MEMORY = 200 << 20
KINDS = ["http", "https", "grpc", "grpcs"]
BEGINNINGS = {
    "http": b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000),
    "grpc": PREFACE
    + frame(SETTINGS, 0, 0)
    + frame(HEADERS, END_HEADERS, 1, headers("/inference.GRPCInferenceService/ModelInfer"))
    + b"".join(frame(DATA, 0, 1, b"\0\0\x0f\xff\xff" + bytes(16_000)) for _ in range(4)),
}
GREETING = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of a ClientHello of 512 bytes
NOISE = random.Random(7).randbytes(4096)

Serve = Callable[..., Served]


def protocol(kind: str) -> str:
    return kind.removesuffix("s") if kind != "https" else "http"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loops(kind: str) -> int:
    """Both ways of accepting, with either protocol, plain and with TLS."""
    return {"http": 0, "https": 2, "grpc": 2, "grpcs": 0}[kind]


@pytest.fixture
def served(serve_http: Serve, serve_grpc: Serve, kind: str, loops: int) -> Iterator[Served]:
    """A port that answers as before when the test is over, and holds what it held."""
    tls = kind.endswith("s")
    if protocol(kind) == "http":
        port = serve_http(tls=tls, limits=TIMES, loops=loops)
    else:
        port = serve_grpc(tls=tls, limits={"handshake_timeout_ms": 300}, loops=loops)
    with port.connect():  # each loop opens a file of its own with its first connection
        assert port.answers()
    wait_until(lambda: port.connections == 0, "quiet port")
    gc.collect()
    before = Holdings.now()
    yield port
    assert port.answers()
    wait_until(lambda: port.connections == 0, "end of all connections")
    wait_until(lambda: Holdings.now().files <= before.files, "release of the connections' files")
    assert Holdings.now().memory < before.memory + MEMORY


def ended(connection: socket.socket) -> bool:
    """Reads until the server has ended it, one way or another."""
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass
    return True


GARBAGE = (NOISE, b"\0" * 4096, b"\x80" * 4096, LIVE, PREFACE, GREETING, b"\r\n" * 2000, b"PRI * HTTP/2.0\r\n")


def test_garbage_before_any_handshake(served: Served) -> None:
    """Plain requests to a TLS port, TLS to a plain one, one protocol to the other."""
    for data in GARBAGE:
        for _ in range(20):
            with served.raw() as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                assert ended(connection)
        assert served.answers(), data[:20]


def test_garbage_after_the_handshake(served: Served) -> None:
    for _ in range(2):
        with served.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(NOISE + b"\r\n\r\n")
            assert ended(connection)


def test_a_beginning_without_an_end(served: Served, kind: str) -> None:
    """Nothing at all is idle where there is no handshake, and may stay."""
    with contextlib.ExitStack() as stack:
        connections = []
        for said in (b"", GREETING, GREETING[:3], PREFACE[:5]):
            opened = [stack.enter_context(served.raw()) for _ in range(50)]
            for connection in opened:
                connection.sendall(said)
            if said or kind != "http":
                connections += opened
        assert served.answers()
        assert all(ended(one) for one in connections)


def test_requests_cut_by_a_reset(served: Served, kind: str) -> None:
    for _ in range(50):
        connection = served.connect()
        with contextlib.suppress(OSError):
            connection.sendall(BEGINNINGS[protocol(kind)])
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(None)
            bare = socket.socket(fileno=connection.detach())
            reset(bare)
        else:
            reset(connection)


def test_clients_that_close_their_half_in_a_request(served: Served, kind: str) -> None:
    for _ in range(20):
        with served.connect() as connection:
            connection.sendall(BEGINNINGS[protocol(kind)])
            socket.socket.shutdown(connection, socket.SHUT_WR)  # below TLS: no goodbye
            assert ended(connection)


def test_a_handshake_cut_by_a_reset(served: Served) -> None:
    for _ in range(50):
        connection = served.raw()
        connection.sendall(GREETING)
        reset(connection)


def test_two_thousand_that_say_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS ones are in their handshake: of those only so many are kept, and the oldest go first."""
    monkeypatch.setattr(acceptors, "MAX_HANDSHAKES", 100)
    before = Holdings.now()
    with contextlib.ExitStack() as stack:
        for number in range(2000):
            stack.enter_context(served.raw())
            if number % 500 == 499:
                assert served.answers()
        assert served.answers()
        assert Holdings.now().memory < before.memory + MEMORY
        if served.tls is not None:
            lanes = served.frontend._acceptor._lanes
            assert all(len(lane.arriving) <= 101 for lane in lanes)


@pytest.mark.parametrize("kind", ["http", "https"], indirect=True)
def test_a_body_that_comes_in_drops(served: Served) -> None:
    """Each piece comes in time; the whole never does, and others do not wait for it."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(served.connect()) for _ in range(20)]
        for connection in connections:
            connection.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(5):
            for connection in connections:
                connection.sendall(b" ")
            assert served.answers()
        for connection in connections:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("kind", ["http", "https"], indirect=True)
@pytest.mark.parametrize(
    "flood",
    [b"X: a\r\n" * 50_000, b"X: " + b"a" * 300_000, b"Cookie: a=b\r\n" * 20_000],
    ids=["many", "long", "cookies"],
)
def test_header_floods_are_told_so(served: Served, flood: bytes) -> None:
    """Over TLS, too, the refusal arrives before the connection ends, though the client goes on sending."""
    with served.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /v2 HTTP/1.1\r\n" + flood)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("tls", [False, True])
def test_a_body_over_the_limit_is_told_so(serve_http: Serve, tls: bool) -> None:
    small = serve_http(tls=tls, limits={"max_body_size": 1000, **TIMES})
    with small.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(infer(data=bytes(4 << 20)))
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"--http-max-input-size" in answer
    wait_until(lambda: small.connections == 0, "end of the connection")


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_never_reads_its_answer(serve_http: Serve, tls: bool) -> None:
    slow = serve_http(tls=tls, limits={"write_timeout_s": 0.3, **TIMES})
    connection = slow.connect()
    with contextlib.suppress(OSError):
        for _ in range(10):
            connection.sendall(infer(data=bytes(4 << 20)))
    wait_until(lambda: slow.connections == 0, "end of the connection")
    connection.close()


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
@pytest.mark.parametrize("tls", [False, True])
def test_strangers_on_either_grpc_transport(serve_grpc: Serve, transport: str, tls: bool) -> None:
    port = serve_grpc(transport, tls=tls)
    assert port.answers()
    before = Holdings.now()
    sent: list[Any] = [NOISE, LIVE, GREETING, PREFACE[:5], BEGINNINGS["grpc"], PREFACE + NOISE]
    for data in sent:
        for _ in range(5):
            connection = port.raw()
            with contextlib.suppress(OSError):
                connection.sendall(data)
            reset(connection)
    for _ in range(5):
        connection = port.connect()
        connection.sendall(BEGINNINGS["grpc"])
        reset(socket.socket(fileno=connection.detach()))
    assert port.answers()
    wait_until(lambda: Holdings.now().files <= before.files, "release of the connections' files")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("ends", ["connection", "server"])
def test_a_slow_reader_gets_the_whole_of_the_last_answer(
    serve_http: Serve, monkeypatch: pytest.MonkeyPatch, tls: bool, ends: str
) -> None:
    """TLS closes in bounded time: that time must not begin before the answer has been taken."""
    monkeypatch.setattr(acceptors, "SHUTDOWN_TIMEOUT_S", 0.2)
    port = serve_http(tls=tls)
    data = bytes(16 << 20)
    with port.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        headers = ("Connection: close",) if ends == "connection" else ()
        connection.sendall(infer("echo", data, "", *headers))
        received = bytearray(connection.recv(1 << 16))
        draining = None
        if ends == "server":
            draining = asyncio.run_coroutine_threadsafe(port.frontend.drain(10), port.loop)
        time.sleep(1)
        while more := connection.recv(1 << 20):
            received += more
        if draining is not None:
            connection.close()
            draining.result(10)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(data)
