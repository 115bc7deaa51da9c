"""Transports that serve on a loop in a thread of their own, so that blocking clients can drive them."""

import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.unit.frontends.loop_thread import LoopThread

from atoll.errors import MissingExtraError
from atoll.frontends.grpc.choose import choose_transport
from atoll.frontends.grpc.transport import TlsFiles, Transport, TransportOptions


class Serving(LoopThread):
    """A transport on its own loop and thread."""

    def __init__(self, kind: type[Transport], unary: Any, stream: Any, options: TransportOptions) -> None:
        self.transport: Any
        self.port = 0

        async def started() -> Callable[[], Awaitable[None]]:
            self.transport = kind(unary, stream, options)
            self.port = await self.transport.start("127.0.0.1", 0)
            stop: Callable[[], Awaitable[None]] = self.transport.stop
            return stop

        super().__init__(started)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def channel(self, **arguments: Any) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(self.address, options=[*options, *arguments.items()])


def transport_kind(name: str) -> type[Transport]:
    if name == "nghttp2":
        try:
            return choose_transport("nghttp2")[0]
        except MissingExtraError as missing:
            if os.environ.get("ATOLL_REQUIRE_NGHTTP2") == "1":
                raise
            pytest.skip(str(missing))
    return choose_transport("grpcio")[0]


@pytest.fixture(params=["nghttp2", "grpcio"])
def kind(request: pytest.FixtureRequest) -> type[Transport]:
    return transport_kind(request.param)


def _server(kind: type[Transport]) -> Iterator[Callable[..., Serving]]:
    running: list[Serving] = []

    def serve(unary: Any = (), stream: Any = (), **options: Any) -> Serving:
        running.append(Serving(kind, dict(unary), dict(stream), TransportOptions(**options)))
        return running[-1]

    yield serve
    for one in running:
        one.close()


@pytest.fixture
def serve(kind: type[Transport]) -> Iterator[Callable[..., Serving]]:
    """serve(unary, stream, **options) -> Serving, on either transport."""
    yield from _server(kind)


@pytest.fixture
def serve_nghttp2() -> Iterator[Callable[..., Serving]]:
    """The same on nghttp2 alone: for what grpcio cannot be made to show."""
    yield from _server(transport_kind("nghttp2"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and server.pem and client.pem signed by it, each with its .key."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=test authority")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed_by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-out", f"{name}.pem", "-days", "30")
    return folder


@pytest.fixture
def tls_files(certificates: Path) -> Callable[[bool], TlsFiles]:
    def files(mutual: bool) -> TlsFiles:
        return TlsFiles(
            certificate=certificates / "server.pem",
            key=certificates / "server.key",
            root=certificates / "ca.pem",
            mutual=mutual,
        )

    return files
