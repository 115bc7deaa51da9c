"""Lives beside one connection: waits for its timers, sends it away gracefully, and answers for its pings."""

import asyncio
import random
import time
from typing import TYPE_CHECKING

from atoll.frontends.grpc.nghttp2.timers import Action, ConnectionClock, Facts, PingStrikes
from atoll.frontends.grpc.transport import TransportOptions

if TYPE_CHECKING:
    from atoll.frontends.grpc.nghttp2._nghttp2 import Connection

_KEEPALIVE = b"atollkap"
_NOTICE = b"atolldrn"


class Supervisor:
    """Made when the connection is; `start`ed when it is connected, `stop`ped when it is lost."""

    def __init__(self, connection: "Connection", options: TransportOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._clock = ConnectionClock(options, time.monotonic_ns(), random.uniform(-1.0, 1.0))
        self._strikes = PingStrikes(options)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._look()

    def drain(self) -> None:
        """Tells the client that no more calls are taken; the connection closes after those in flight."""
        if self._clock.drain(time.monotonic_ns()):
            self._connection.notice()
            self._connection.ping(_NOTICE)
            self._look()

    def closing(self) -> None:
        """The connection has been closed but may hold bytes that its peer does not read."""
        self._clock.closing(time.monotonic_ns())
        self._look()

    def settled(self) -> None:
        self._look()

    def ping_received(self) -> bool:
        """True: the client pings too often and the connection is to end."""
        connection = self._connection
        return self._strikes.too_many(time.monotonic_ns(), connection.calls, connection.frames_sent)

    def ping_acknowledged(self, payload: bytes) -> None:
        if payload == _NOTICE:
            self._clock.notice_acknowledged(time.monotonic_ns())
            # not from inside nghttp2's callback
            self._loop.call_soon(self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.stop()
        connection = self._connection
        while connection.connected:
            now_ns = time.monotonic_ns()
            facts = Facts(
                settled=connection.settled,
                last_received_ns=connection.last_received_ns,
                idle_since_ns=connection.idle_since_ns,
                calls=connection.calls,
                frames_sent=connection.frames_sent,
            )
            action, again_ns = self._clock.next(now_ns, facts)
            if action is None:
                self._timer = self._loop.call_later((again_ns - now_ns) / 1e9 + 0.001, self._look)
                return
            if action is Action.PING:
                connection.ping(_KEEPALIVE)
            elif action is Action.DRAIN:
                self._clock.drain(now_ns)
                connection.notice()
                connection.ping(_NOTICE)
            elif action is Action.REFUSE:
                connection.goaway()
            else:
                connection.abort()
                return
