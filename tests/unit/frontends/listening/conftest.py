"""Frontends on a loop in a thread of their own, over an engine that echoes, so that raw sockets can drive them."""

import os
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from tests.unit.frontends.grpc.conftest import certificates, transport_kind  # noqa: F401 - a fixture
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import infer, request
from tests.unit.frontends.loop_thread import WAIT_S, LoopThread
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from atoll.frontends.access_log import AccessLog
from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.frontends.grpc.transport import TransportOptions
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.listening.tls import TlsFiles

LIVE = request("GET", "/v2/health/live")


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Polls; fails after a while."""
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, f"no {what} within {WAIT_S} s"
        time.sleep(0.005)


def files_of(folder: Path, mutual: bool = False, prefix: str = "http") -> TlsFiles:
    return TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", mutual, prefix)


class Served(LoopThread):
    """A frontend that serves from the moment it is made until `close`."""

    def __init__(self, frontend: Any, tls: Path | None = None):
        self.frontend = frontend
        self.tls = tls

        async def started() -> Callable[[], Awaitable[None]]:
            await frontend.start()
            stop: Callable[[], Awaitable[None]] = frontend.stop
            return stop

        super().__init__(started)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.frontend.addresses[0]
        return host, port

    def raw(self) -> socket.socket:
        """A connection that has said nothing, not even a TLS greeting."""
        host, port = self.address
        if host.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(WAIT_S)
            connection.connect(host.removeprefix("unix:"))
            return connection
        return socket.create_connection((host, port), WAIT_S)

    def connect(self) -> socket.socket:
        """A connection ready for requests."""
        connection = self.raw()
        if self.tls is None:
            return connection
        context = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
        context.set_alpn_protocols(["http/1.1" if isinstance(self.frontend, HttpFrontend) else "h2"])
        return context.wrap_socket(connection, server_hostname="localhost")

    def channel(self) -> grpc.Channel:
        host, port = self.address
        target = host if host.startswith("unix:") else f"localhost:{port}"
        if self.tls is None:
            return grpc.insecure_channel(
                target.replace("localhost", "127.0.0.1"), [("grpc.use_local_subchannel_pool", 1)]
            )
        credentials = grpc.ssl_channel_credentials((self.tls / "ca.pem").read_bytes())
        return grpc.secure_channel(target, credentials, [("grpc.use_local_subchannel_pool", 1)])

    def answers(self) -> bool:
        """Whether a well-behaved client is served."""
        if isinstance(self.frontend, HttpFrontend):
            with self.connect() as connection:
                connection.sendall(infer(id="alive"))
                return connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
        with self.channel() as channel:
            return bool(GRPCInferenceServiceStub(channel).ServerLive(triton.ServerLiveRequest(), timeout=WAIT_S).live)

    @property
    def connections(self) -> int:
        """Those that the server holds, on all its loops, half-begun ones too."""
        return sum(lane.load() + len(lane.arriving) for lane in self.frontend._acceptor._lanes)


@pytest.fixture
def serve_http(certificates: Path) -> Iterator[Callable[..., Served]]:  # noqa: F811
    """serve_http(tls=False, limits..., log=None, **options)."""
    running: list[Served] = []

    def serve(
        tls: bool = False,
        limits: dict[str, Any] | None = None,
        server: Any = None,
        log: AccessLog | None = None,
        **options: Any,
    ) -> Served:
        chosen = HttpOptions(
            port=options.pop("port", 0),
            limits=ConnectionLimits(**(limits or {})),
            tls=options.pop("files", files_of(certificates)) if tls else None,
            **options,
        )
        engine = server or FakeServer()
        frontend = HttpFrontend(engine, chosen, FrontendContext(engine, access_log=log))
        served = Served(frontend, certificates if tls else None)
        running.append(served)
        return served

    yield serve
    for one in running:
        one.close()


@pytest.fixture
def serve_grpc(certificates: Path) -> Iterator[Callable[..., Served]]:  # noqa: F811
    """serve_grpc(transport="nghttp2", tls=False, limits..., **options)."""
    running: list[Served] = []

    def serve(
        transport: str = "nghttp2",
        tls: bool = False,
        limits: dict[str, Any] | None = None,
        server: Any = None,
        **options: Any,
    ) -> Served:
        transport_kind(transport)  # skips where it is not built
        files = options.pop("files", files_of(certificates, prefix="grpc")) if tls else None
        chosen = GrpcOptions(
            port=options.pop("port", 0),
            transport=transport,  # type: ignore[arg-type]
            transport_options=TransportOptions(tls=files, **(limits or {})),
            **options,
        )
        served = Served(GrpcFrontend(server or FakeServer(), chosen), certificates if tls else None)
        running.append(served)
        return served

    yield serve
    for one in running:
        one.close()


@dataclass
class Holdings:
    """What this process holds, compared with before."""

    files: int
    memory: int

    @classmethod
    def now(cls) -> "Holdings":
        process = psutil.Process()
        return cls(process.num_fds(), process.memory_info().rss)


def reset(connection: socket.socket) -> None:
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
