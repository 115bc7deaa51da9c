"""Transports that serve on a loop in a thread of their own, so that blocking clients can drive them."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from atoll.errors import MissingExtraError
from atoll.frontends.grpc.choose import choose_transport
from atoll.frontends.grpc.transport import TlsFiles, Transport, TransportOptions

WAIT_S = 20  # for things that happen at once unless something is broken


class Serving:
    """A transport on its own loop and thread."""

    def __init__(self, kind: type[Transport], unary: Any, stream: Any, options: TransportOptions) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.transport: Any
        self.port = 0
        self.problem: BaseException | None = None
        up = threading.Event()

        async def live() -> None:
            self.loop = asyncio.get_running_loop()
            self._over = asyncio.Event()
            try:
                self.transport = kind(unary, stream, options)
                self.port = await self.transport.start("127.0.0.1", 0)
            except BaseException as problem:
                self.problem = problem
                return
            finally:
                up.set()
            await self._over.wait()
            await self.transport.stop()

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(live())

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert up.wait(WAIT_S)
        if self.problem is not None:
            self._thread.join()
            raise self.problem

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Runs something on the transport's loop and waits for it."""

        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(WAIT_S)

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer of a plain function called on the transport's loop."""

        async def answer() -> Any:
            return question()

        return self.run(answer())

    def eventually(self, condition: Callable[[], bool]) -> None:
        """Waits until something is true on the transport's loop."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        self.run(wait())

    def channel(self, **arguments: Any) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(self.address, options=[*options, *arguments.items()])

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


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
