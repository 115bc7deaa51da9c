"""The nghttp2 transport as a whole: listening, TLS, the graceful end."""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from typing import cast

from atoll.frontends.grpc.nghttp2._nghttp2 import Connection, Endpoint, library_version
from atoll.frontends.grpc.nghttp2.limits import limits_of
from atoll.frontends.grpc.nghttp2.supervision import Supervisor
from atoll.frontends.grpc.transport import PROTOCOLS, StreamHandler, TransportOptions, UnaryHandler
from atoll.frontends.listening.acceptor import Acceptor, Lane
from atoll.frontends.listening.options import ListenOptions

__all__ = ["Nghttp2Transport", "library_version"]


class Nghttp2Transport:
    """`atoll.frontends.grpc.transport.Transport` on libnghttp2.

    One of several on event loops of their own that share an address: `open` in the place of `start`, on its loop, and
    who accepts gets its `lane`.
    """

    def __init__(
        self, unary: Mapping[str, UnaryHandler], stream: Mapping[str, StreamHandler], options: TransportOptions
    ) -> None:
        self._unary = unary
        self._stream = stream
        self._options = options
        self._endpoint: Endpoint | None = None
        self._acceptor: Acceptor | None = None

    def open(self) -> Lane:
        """Serves the connections that the lane is given."""
        loop = asyncio.get_running_loop()
        supervise = partial(Supervisor, options=self._options, loop=loop)
        self._endpoint = endpoint = Endpoint(loop, self._unary, self._stream, limits_of(self._options), supervise)
        most = self._options.max_connections

        def make() -> asyncio.BaseProtocol:
            if len(endpoint.connections) >= most:
                return _TurnedAway()
            return cast(asyncio.BaseProtocol, Connection(endpoint))

        return Lane(loop, make, lambda: len(endpoint.connections))

    async def start(self, host: str, port: int) -> int:
        options = self._options
        listen = ListenOptions(
            host=host, port=port, reuse_port=options.reuse_port, tls=options.tls, socket_mode=options.socket_mode
        )
        self._acceptor = Acceptor(listen, [self.open()], PROTOCOLS, options.handshake_timeout_ms / 1000)
        return (await self._acceptor.start())[0][1]

    async def drain(self, timeout_s: float) -> None:
        if self._endpoint is None:
            return
        if self._acceptor is not None:
            self._acceptor.close()
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
        if self._endpoint is None:
            return
        if self._acceptor is not None:
            self._acceptor.close()
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


class _TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
