"""The nghttp2 transport as a whole: listening, TLS, the graceful end."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from functools import partial
from typing import cast

from atoll.frontends.grpc.nghttp2._nghttp2 import Connection, Endpoint, library_version
from atoll.frontends.grpc.nghttp2.limits import limits_of
from atoll.frontends.grpc.nghttp2.supervision import Supervisor
from atoll.frontends.grpc.transport import StreamHandler, TlsFiles, TransportOptions, UnaryHandler

__all__ = ["Nghttp2Transport", "library_version"]

_BACKLOG = 1024


class Nghttp2Transport:
    """`atoll.frontends.grpc.transport.Transport` on libnghttp2."""

    def __init__(
        self, unary: Mapping[str, UnaryHandler], stream: Mapping[str, StreamHandler], options: TransportOptions
    ) -> None:
        self._unary = unary
        self._stream = stream
        self._options = options
        self._endpoint: Endpoint | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        supervise = partial(Supervisor, options=self._options, loop=loop)
        endpoint = Endpoint(loop, self._unary, self._stream, limits_of(self._options), supervise)
        tls = None if self._options.tls is None else tls_context(self._options.tls)
        self._server = await loop.create_server(
            lambda: cast(asyncio.BufferedProtocol, Connection(endpoint)),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self._options.handshake_timeout_ms / 1000,
            reuse_port=self._options.reuse_port,
            backlog=_BACKLOG,
        )
        self._endpoint = endpoint
        return int(self._server.sockets[0].getsockname()[1])

    async def drain(self, timeout_s: float) -> None:
        if self._endpoint is None or self._server is None:
            return
        self._server.close()
        for _ in range(2):  # those that were accepted in this turn of the loop are made in the next
            await asyncio.sleep(0)
        for connection in list(self._endpoint.connections):
            if connection.settled:
                connection.drain()
            else:  # it has not even begun to speak HTTP/2, and might never
                connection.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty(self._endpoint), timeout_s)
        await self.stop()

    async def stop(self) -> None:
        if self._endpoint is None or self._server is None:
            return
        self._server.close()
        for connection in list(self._endpoint.connections):
            connection.abort()
        await self._empty(self._endpoint)

    @property
    def connections(self) -> int | None:
        return 0 if self._endpoint is None else len(self._endpoint.connections)

    @property
    def calls_in_flight(self) -> int:
        return 0 if self._endpoint is None else self._endpoint.calls

    @property
    def buffered_bytes(self) -> int:
        """What is counted against `max_buffered_bytes`."""
        return 0 if self._endpoint is None else self._endpoint.buffered_bytes

    async def _empty(self, endpoint: Endpoint) -> None:
        empty = asyncio.get_running_loop().create_future()
        endpoint.when_empty(partial(_set, empty))
        await empty


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A server's context that speaks HTTP/2; OSError (ssl.SSLError is one) if a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    if files.root is not None:
        context.load_verify_locations(files.root)
    if files.mutual:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
