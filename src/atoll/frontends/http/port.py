"""The connections of one address on one event loop: what they share, how they are watched, and how they end."""

import asyncio
import logging
from typing import Protocol

from atoll.frontends.http.head import HeadParser
from atoll.frontends.http.limits import KIB, ConnectionLimits
from atoll.frontends.http.routes import RouteTable
from atoll.frontends.listening.buffering import BufferBudget

logger = logging.getLogger(__name__)

RECEIVE_SIZE = 256 * KIB
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
    """Belongs to one event loop: construct it there, then `open`, later `drain` or `stop`. Who accepts connections
    gives them to it (listening/acceptor.py)."""

    def __init__(self, routes: RouteTable, limits: ConnectionLimits):
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.heads = HeadParser(routes, limits)
        self.scratch = memoryview(bytearray(RECEIVE_SIZE))  # received data is taken out before anybody else receives
        self.bodies = BufferBudget(limits.max_buffered_size)
        self.connections: set[Connection] = set()
        self.draining = False
        self._sweep_s = min(_LONGEST_SWEEP_S, _shortest_timeout(limits) / _SWEEPS_PER_TIMEOUT)
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Future[None] | None = None

    def open(self) -> None:
        """Watch the deadlines of the connections that come from now on."""
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)

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
        """Refuse who comes, close what is idle, answer what is in flight; after the timeout close whatever is left."""
        self.draining = True
        for connection in list(self.connections):
            connection.finish()
        if self.connections:
            self._all_closed = self.loop.create_future()
            await asyncio.wait([self._all_closed], timeout=timeout_s)
        self.stop()

    def stop(self) -> None:
        """Close everything at once."""
        self.draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            if connection.deadline <= now:
                self._expire(connection, now)
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)

    def _expire(self, connection: Connection, now: float) -> None:
        try:
            connection.expire(now)
        except Exception:  # a bug of one connection: the others are watched on
            logger.exception("a connection whose time is over could not be ended in an orderly way")
            connection.abort()


def _shortest_timeout(limits: ConnectionLimits) -> float:
    return min(
        limits.header_timeout_s,
        limits.body_timeout_s,
        limits.idle_timeout_s,
        limits.write_timeout_s,
        limits.linger_timeout_s,
    )
