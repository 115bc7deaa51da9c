"""One address on several event loops: who gets which connection, and that the end and failures are everybody's."""

import asyncio
import contextlib
import json
import os
import socket
import threading
import time

import grpc
import pytest
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import infer
from tests.unit.frontends.listening.conftest import LIVE, WAIT_S, wait_until

from atoll.frontends.access_log import AccessLog
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.listening import acceptor as acceptors
from atoll.frontends.listening import loops
from atoll.frontends.listening.loops import EventLoops


def loops_alive(name):
    return sorted(one.name for one in threading.enumerate() if one.name.startswith(f"{name}-"))


def loads(served):
    return [lane.load() for lane in served.frontend._acceptor._lanes]


def settled(served, stack, number):
    """Another connection, which is that many by now: one that is on its way counts for a moment longer."""
    connection = stack.enter_context(served.raw())
    wait_until(lambda: sum(loads(served)) == number == served.connections, f"{number} connections")
    return connection


def test_connections_are_dealt_out_evenly(serve_http):
    served = serve_http(loops=3)
    with contextlib.ExitStack() as stack:
        connections = [settled(served, stack, number) for number in range(1, 13)]
        assert loads(served) == [4, 4, 4]
        for connection in connections:
            connection.sendall(infer())
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        for connection in connections[::3]:
            connection.close()
        wait_until(lambda: sum(loads(served)) == 8, "eight connections")
        for number in range(9, 13):
            settled(served, stack, number)
        assert loads(served) == [4, 4, 4]


def test_requests_run_on_the_loops_threads_and_threads_end_with_them(serve_http):
    class Noting(FakeServer):
        def __init__(self):
            super().__init__()
            self.threads = set()

        def submit(self, request):
            self.threads.add(threading.current_thread().name)
            super().submit(request)

    server = Noting()
    served = serve_http(loops=2, server=server)
    for _ in range(2):
        with served.connect() as first, served.connect() as second:
            for one in (first, second):
                one.sendall(infer("thread"))  # answered from another thread, through the loop's mailbox
                assert one.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
    assert server.threads == {"http-0", "http-1"}
    served.run(served.frontend.drain(WAIT_S))
    assert not loops_alive("http")
    with pytest.raises(ConnectionRefusedError):
        served.raw()


@pytest.mark.parametrize("tls", [False, True])
def test_draining_answers_what_is_in_flight_on_every_loop(serve_http, tls):
    server = FakeServer()
    served = serve_http(loops=3, server=server, tls=tls)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(served.connect()) for _ in range(6)]
        for connection in connections:
            connection.sendall(infer("wait"))
        wait_until(lambda: len(server.requests) == 6, "six requests")
        draining = asyncio.run_coroutine_threadsafe(served.frontend.drain(WAIT_S), served.loop)
        idle_refused(served)
        assert not draining.done()
        for request in list(server.requests):
            server.release(request)
        for connection in connections:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
            assert not connection.recv(1)
            connection.close()
        draining.result(WAIT_S)


def idle_refused(served):
    def refused():
        try:
            served.raw().close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it was in the listener's queue when that was closed
        return False

    wait_until(refused, "refusal")


def test_draining_gives_up_after_its_time_on_every_loop(serve_http):
    server = FakeServer()
    served = serve_http(loops=2, server=server)
    with served.connect() as one, served.connect() as other:
        for connection in (one, other):
            connection.sendall(infer("wait"))
        wait_until(lambda: len(server.requests) == 2, "two requests")
        served.run(served.frontend.drain(0.1))
        for connection in (one, other):
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
    assert not loops_alive("http")


def test_a_loop_that_is_blocked_does_not_hold_up_the_end(serve_http, monkeypatch, caplog):
    class Blocking(FakeServer):
        blocked, free = threading.Event(), threading.Event()

        def submit(self, request):
            self.blocked.set()
            self.free.wait(WAIT_S)
            super().submit(request)

    monkeypatch.setattr(loops, "BLOCKED_S", 0.1)
    monkeypatch.setattr(loops, "_JOIN_S", 0.1)
    served = serve_http(loops=2, server=Blocking())
    with served.raw() as connection:
        connection.sendall(infer())
        assert Blocking.blocked.wait(WAIT_S)
        served.run(served.frontend.drain(0.1))
        assert "1 event loops of http are blocked" in caplog.text
        assert "is busy and is left to itself" in caplog.text
        Blocking.free.set()
    wait_until(lambda: not loops_alive("http"), "end of the loop")


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_port_that_is_taken_leaves_no_loops(serve_http, serve_grpc, kind):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            {"http": serve_http, "grpc": serve_grpc}[kind](port=port, loops=2)
    assert not loops_alive(kind)


def test_grpc_on_several_loops(serve_grpc):
    served = serve_grpc(loops=3)
    echo = "/inference.GRPCInferenceService/ServerLive"
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(served.channel()) for _ in range(6)]
        for channel in channels:
            assert channel.unary_unary(echo)(b"", timeout=WAIT_S) == b"\x08\x01"
        assert loads(served) == [2, 2, 2]
        served.run(served.frontend.drain(WAIT_S))
    assert not loops_alive("grpc")


def test_grpcio_says_that_it_has_one_loop(serve_grpc, caplog):
    served = serve_grpc("grpcio", loops=4)
    assert "--grpc-infer-thread-count=4 has no effect on the grpcio transport" in caplog.text
    assert not loops_alive("grpc")
    assert served.answers()


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
def test_grpc_on_a_unix_socket(serve_grpc, tmp_path, transport):
    path = tmp_path / "g.sock"
    served = serve_grpc(transport, host=f"unix:{path}")
    assert served.answers()
    assert path.stat().st_mode & 0o007 == 0
    served.run(served.frontend.drain(WAIT_S))
    assert not path.exists()


@pytest.mark.parametrize("loops", [0, 2])
@pytest.mark.parametrize("tls", [False, True])
def test_http_on_a_unix_socket(serve_http, tmp_path, loops, tls):
    path = tmp_path / "h.sock"
    served = serve_http(host=f"unix:{path}", loops=loops, tls=tls)
    assert served.frontend.addresses == [(f"unix:{path}", 0)]
    assert served.answers()
    with pytest.raises(OSError, match="another process listens there"):
        serve_http(host=f"unix:{path}")
    served.run(served.frontend.drain(WAIT_S))
    assert not path.exists()


@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
def test_grpc_on_all_addresses_is_both_protocols_as_with_the_real_server(serve_grpc, transport):
    served = serve_grpc(transport, host="0.0.0.0")
    port = served.address[1]
    for host in ("127.0.0.1", "[::1]"):
        with grpc.insecure_channel(f"{host}:{port}") as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", timeout=WAIT_S) == b"\x08\x01"


@pytest.mark.parametrize("loops", [0, 2])
def test_too_many_connections_are_told_to_come_again(serve_http, loops):
    served = serve_http(loops=loops, limits={"max_connections": 4})
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(served.raw())
            connection.sendall(LIVE)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        with served.raw() as refused:
            assert refused.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    wait_until(served.answers, "room again")


@pytest.mark.parametrize("loops", [0, 2])
def test_too_many_grpc_connections_are_cut(serve_grpc, loops):
    served = serve_grpc(loops=loops, limits={"max_connections": 2})
    with served.channel() as one, served.channel() as other:
        for channel in (one, other):
            grpc.channel_ready_future(channel).result(WAIT_S)
        with served.raw() as refused, contextlib.suppress(ConnectionError):
            assert refused.recv(1) == b""
    wait_until(lambda: served.connections == 0, "end of the connections")
    assert served.answers()


def test_what_loops_share_is_what_one_had():
    limits = ConnectionLimits(max_connections=10, max_buffered_size=1 << 30)
    shared = limits.shared_by(4)
    assert (shared.max_connections, shared.max_buffered_size) == (3, 1 << 28)
    assert limits.shared_by(1) is limits


def test_a_server_out_of_files_goes_on_when_there_are_some_again(serve_http, monkeypatch, caplog):
    """The listening socket stays ready while nothing can be accepted: who asked it at once again would spin."""
    served = serve_http(loops=2)
    monkeypatch.setattr(acceptors, "_PAUSE_S", 0.05)
    acceptor = served.frontend._acceptor
    calls = []

    class Exhausted:
        def accept(self):
            calls.append(1)
            raise OSError(24, "Too many open files")

    def exhaust():
        acceptor._accept(Exhausted())

    served.loop.call_soon_threadsafe(exhaust)
    wait_until(lambda: "no more connections can be accepted" in caplog.text, "line in the log")
    assert served.answers()
    assert len(calls) == 1


def test_event_loops_start_and_end():
    async def live():
        loops = EventLoops(2, "trial")
        loops.start()
        assert loops_alive("trial") == ["trial-0", "trial-1"]

        async def where():
            return threading.current_thread().name

        assert [await loops.run(loop, where()) for loop in loops.loops] == ["trial-0", "trial-1"]
        await loops.stop()
        await loops.stop()
        assert not loops_alive("trial")
        alone = EventLoops(0, "trial")
        alone.start()
        assert alone.loops == [asyncio.get_running_loop()]
        assert await alone.run(alone.loops[0], where()) == threading.current_thread().name
        await alone.stop()

    asyncio.run(live())


def test_files_are_given_back(serve_http):
    def files():
        return len(os.listdir("/proc/self/fd"))

    before = files()
    for tls in (False, True):
        served = serve_http(loops=2, tls=tls)
        assert served.answers()
        served.run(served.frontend.drain(WAIT_S))
        served.close()
        served.close = lambda: None
    deadline = time.monotonic() + WAIT_S
    while files() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert files() <= before


@pytest.mark.parametrize("tls", [False, True])
def test_requests_stand_in_the_access_log_whatever_carries_them(serve_http, tmp_path, tls):
    log = AccessLog(str(tmp_path / "log"))
    served = serve_http(tls=tls, log=log)
    assert served.answers()
    assert log.flush(WAIT_S)
    log.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["status"] == 200
