"""Accepts the connections of one address and deals them out among event loops, each to the one that has the fewest.

The kernel's own way, every loop accepting from the same socket, gives a burst of connections to whichever loop is
awake; clients of gRPC keep their few connections for hours, and would stay where they fell.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atoll.frontends.listening.address import parse_address
from atoll.frontends.listening.options import ListenOptions
from atoll.frontends.listening.sockets import BACKLOG, Bound, listen_on
from atoll.frontends.listening.tls import HANDSHAKE_TIMEOUT_S, Certificates

logger = logging.getLogger(__name__)

MAX_HANDSHAKES = 1024
SHUTDOWN_TIMEOUT_S = 5.0
"""For a TLS client to say goodbye."""
_AT_ONCE = 64  # connections in one turn of the loop, which has others to look after
_PAUSE_S = 1.0  # after which a system that had no file for another connection is asked again
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True)
class Lane:
    """One event loop's share of an address.

    `make`: the protocol of a new connection, called on the loop's thread. `load`: how many connections it has,
    callable from any thread.
    """

    loop: asyncio.AbstractEventLoop
    make: Callable[[], asyncio.BaseProtocol]
    load: Callable[[], int]
    arriving: dict[socket.socket, None] = field(default_factory=dict)
    """Accepted, but not among its connections yet, oldest first."""


class Acceptor:
    """Belongs to the loop on which it is started. `handshake_timeout_s` is for TLS."""

    def __init__(
        self,
        options: ListenOptions,
        lanes: Sequence[Lane],
        protocols: Sequence[str],
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ):
        """`protocols`: what TLS clients may speak. Raises OSError for certificates that cannot be used."""
        self._options = options
        self._lanes = lanes
        self._tls = None if options.tls is None else Certificates(options.tls, protocols)
        self._handshake_timeout_s = handshake_timeout_s
        self._loop = asyncio.get_running_loop()
        self._bound: Bound | None = None
        self._servers: list[asyncio.Server] = []
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> list[tuple[str, int]]:
        """Listen; returns the addresses. Raises OSError naming the address."""
        options = self._options
        address = parse_address(options.host, options.port)
        self._bound = bound = listen_on(address, options.reuse_port, options.socket_mode)
        try:
            if self._tls is None and len(self._lanes) == 1 and self._lanes[0].loop is self._loop:
                await self._serve_directly(self._lanes[0], bound)
            else:
                self._accept_all()
        except BaseException:
            self.close()
            raise
        return bound.addresses

    def close(self) -> None:
        """Accept nobody any more, and drop who has not finished the handshake."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        for server in self._servers:
            server.close()
        if self._bound is not None:
            if not self._servers:
                for one in self._bound.sockets:
                    self._loop.remove_reader(one)
            bound, self._bound = self._bound, None
            bound.close()
        for lane in self._lanes:
            for one in list(lane.arriving):
                _cut(one)

    # ---- one loop, no TLS: the loop's own way, which costs a connection least

    async def _serve_directly(self, lane: Lane, bound: Bound) -> None:
        for one in bound.sockets:
            if one.family == socket.AF_UNIX:
                server = await self._loop.create_unix_server(lane.make, sock=one, backlog=BACKLOG)
            else:
                server = await self._loop.create_server(lane.make, sock=one, backlog=BACKLOG)
            self._servers.append(server)

    # ---- otherwise

    def _accept_all(self) -> None:
        self._pause = None
        if self._bound is not None and not self._closed:
            for one in self._bound.sockets:
                self._loop.add_reader(one, self._accept, one)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._could_not(error)
                return
            self._hand_over(connection)

    def _could_not(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED or self._bound is None:
            logger.error("a connection could not be accepted: %s", error)
            return
        logger.error("no more connections can be accepted for the moment: %s", error.strerror)
        for one in self._bound.sockets:
            self._loop.remove_reader(one)
        self._pause = self._loop.call_later(_PAUSE_S, self._accept_all)

    def _hand_over(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lane = min(self._lanes, key=_load)
        if len(lane.arriving) >= MAX_HANDSHAKES:  # the newest is the likeliest to mean it
            oldest = next(iter(list(lane.arriving)))
            lane.arriving.pop(oldest, None)
            _cut(oldest)
        lane.arriving[connection] = None
        arrival = self._arrive(lane, connection, None if self._tls is None else self._tls.context())
        if lane.loop is self._loop:
            _keep(self._loop.create_task(arrival))
            return
        try:
            asyncio.run_coroutine_threadsafe(arrival, lane.loop)
        except RuntimeError:  # that loop is closed: the server is stopping
            arrival.close()
            lane.arriving.pop(connection, None)
            connection.close()

    async def _arrive(self, lane: Lane, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        """On the lane's loop."""
        try:
            if tls is None:
                await lane.loop.connect_accepted_socket(lane.make, connection)
            else:
                await lane.loop.connect_accepted_socket(
                    lane.make,
                    connection,
                    ssl=tls,
                    ssl_handshake_timeout=self._handshake_timeout_s,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
                )
        except (OSError, asyncio.CancelledError) as error:  # who scans ports must not fill the log
            logger.debug("a connection ended before it began: %s", error)
            connection.close()
        finally:
            lane.arriving.pop(connection, None)


def _load(lane: Lane) -> int:
    return lane.load() + len(lane.arriving)


def _cut(connection: socket.socket) -> None:
    """Its loop, which owns it, sees that it has ended."""
    with contextlib.suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)


_tasks: set["asyncio.Task[None]"] = set()  # a loop itself holds its tasks only weakly


def _keep(task: "asyncio.Task[None]") -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
