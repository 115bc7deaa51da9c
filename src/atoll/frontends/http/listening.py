"""One address that speaks HTTP, on as many event loops as asked: bound once, with a port and a service on each loop."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from atoll.frontends.access_log import AccessLog
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.logged import connection_maker
from atoll.frontends.http.port import Port
from atoll.frontends.http.routes import RouteTable
from atoll.frontends.listening.acceptor import Acceptor, Lane
from atoll.frontends.listening.loops import EventLoops
from atoll.frontends.listening.options import ListenOptions
from atoll.frontends.listening.pacing import Paced
from atoll.frontends.listening.tls import tls_context

PROTOCOLS = ("http/1.1",)


class Service(Protocol):
    """What is served on one event loop."""

    routes: RouteTable

    def close(self) -> None:
        """The server is stopping: begin nothing more that takes long; what has begun goes on."""


class HttpListening:
    """A day: made, `start`, requests, `drain` or `stop`, all on one event loop."""

    def __init__(
        self,
        options: ListenOptions,
        limits: ConnectionLimits,
        make_service: Callable[[asyncio.AbstractEventLoop], Service],
        name: str = "http",
        access_log: AccessLog | None = None,
    ):
        """`make_service` is called on each event loop's thread. `name`: of the threads, if there are to be any.

        Raises OSError for certificates that cannot be used: who starts a server need not wait for its models to know.
        """
        if options.tls is not None:
            tls_context(options.tls, PROTOCOLS)
        self._connection = connection_maker(access_log)
        self._options = options
        self._limits = limits
        self._make_service = make_service
        self._loops = EventLoops(options.loops, name)
        self._acceptor: Acceptor | None = None
        self._shares: list[_Share] = []
        self.addresses: list[tuple[str, int]] = []

    @property
    def ports(self) -> list[Port]:
        """One for each event loop."""
        return [share.port for share in self._shares]

    async def start(self) -> None:
        """Listen. Raises OSError naming the address, or the option and file of a certificate."""
        try:
            self._loops.start()
            limits = self._limits.shared_by(len(self._loops.loops))
            for loop in self._loops.loops:
                self._shares.append(await self._loops.run(loop, self._make_share(loop, limits)))
            encrypted = self._options.tls is not None
            lanes = [
                Lane(share.port.loop, share.paced_connection if encrypted else share.connection, share.load)
                for share in self._shares
            ]
            self._acceptor = Acceptor(self._options, lanes, PROTOCOLS, limits.handshake_timeout_s)
            self.addresses = await self._acceptor.start()
        except BaseException:
            await self.stop()
            raise

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new, answer what is in flight, close; after the timeout whatever is left, too."""
        if self._acceptor is not None:
            self._acceptor.close()
        drains = [(share.port.loop, share.drain(timeout_s)) for share in self._shares]
        await self._loops.run_each(drains, timeout_s)
        await self.stop()

    async def stop(self) -> None:
        """Close everything at once."""
        if self._acceptor is not None:
            self._acceptor.close()
        shares, self._shares = self._shares, []
        await self._loops.run_each([(share.port.loop, share.stop()) for share in shares], 0)
        await self._loops.stop()

    async def _make_share(self, loop: asyncio.AbstractEventLoop, limits: ConnectionLimits) -> "_Share":
        service = self._make_service(loop)
        return _Share(service, Port(service.routes, limits), self._connection)


class _Share:
    """What one event loop has of it."""

    def __init__(self, service: Service, port: Port, connection: Callable[[Port], HttpConnection]):
        self._service = service
        self._connection = connection
        self.port = port
        port.open()

    def connection(self) -> HttpConnection:
        return self._connection(self.port)

    def paced_connection(self) -> Paced:
        return Paced(self._connection(self.port))

    def load(self) -> int:
        return len(self.port.connections)

    async def drain(self, timeout_s: float) -> None:
        self._service.close()
        await self.port.drain(timeout_s)

    async def stop(self) -> None:
        self._service.close()
        self.port.stop()
