"""One listening port and all its connections: what they share, how they are watched, and how they end."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from atoll.frontends.buffering import BufferBudget
from atoll.frontends.http.head import HeadParser
from atoll.frontends.http.limits import KIB, ConnectionLimits
from atoll.frontends.http.routes import RouteTable

logger = logging.getLogger(__name__)

RECEIVE_SIZE = 256 * KIB
BACKLOG = 1024
_SWEEPS_PER_TIMEOUT = 4  # a connection outlives its deadline by at most a quarter of the shortest timeout
_LONGEST_SWEEP_S = 1.0


class Connection(Protocol):
    """What a port asks of its connections. `deadline`: when `expire` is due, in the loop's time."""

    deadline: float

    def expire(self, now: float) -> None:
        """The deadline has passed."""

    def finish(self) -> None:
        """Close, after the answer that is being worked on."""

    def abort(self) -> None:
        """Close at once."""


class Port:
    """Belongs to one event loop: construct it there, then `listen`, later `drain` or `stop`."""

    def __init__(self, routes: RouteTable, limits: ConnectionLimits):
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.heads = HeadParser(routes, limits)
        self.scratch = memoryview(bytearray(RECEIVE_SIZE))  # received data is taken out before anybody else receives
        self.bodies = BufferBudget(limits.max_buffered_size)
        self.connections: set[Connection] = set()
        self.draining = False
        self._servers: list[asyncio.Server] = []
        self._sweep_s = min(_LONGEST_SWEEP_S, _shortest_timeout(limits) / _SWEEPS_PER_TIMEOUT)
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Future[None] | None = None

    async def listen(
        self, protocol: "Callable[[Port], asyncio.BufferedProtocol]", host: str, port: int, reuse_port: bool
    ) -> list[tuple[str, int]]:
        """Bind and accept; returns the addresses. Raises OSError naming the address."""
        try:
            server = await self.loop.create_server(
                lambda: protocol(self), host, port, reuse_port=reuse_port or None, backlog=BACKLOG
            )
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._servers.append(server)
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)
        return [listener.getsockname()[:2] for listener in server.sockets]

    def adopt(self, connection: Connection) -> bool:
        """A new connection; False where there are too many already."""
        self.connections.add(connection)
        return len(self.connections) <= self.limits.max_connections and not self.draining

    def release(self, connection: Connection) -> None:
        """The connection is closed."""
        self.connections.discard(connection)
        if self._all_closed is not None and not self.connections and not self._all_closed.done():
            self._all_closed.set_result(None)

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new, close what is idle, answer what is in flight; after the timeout close whatever is left."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()
        if self.connections:
            self._all_closed = self.loop.create_future()
            await asyncio.wait([self._all_closed], timeout=timeout_s)
        await self.stop()

    async def stop(self) -> None:
        """Close everything at once."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            if connection.deadline <= now:
                connection.expire(now)
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)


def _shortest_timeout(limits: ConnectionLimits) -> float:
    return min(
        limits.header_timeout_s,
        limits.body_timeout_s,
        limits.idle_timeout_s,
        limits.write_timeout_s,
        limits.linger_timeout_s,
    )


def plain_address(address: str) -> str:
    """An address as the options give it, `ipv6:[::1]` in the real server's form among them, as sockets take it."""
    return address.removeprefix("ipv6:").removeprefix("ipv4:").removeprefix("[").removesuffix("]")
