"""The child's end of the channel to the server: one socket, any number of threads that write and wait.

Nobody is there only to read: whoever waits for something reads, one at a time, and lets the others know. So an answer
costs no hand-over between threads. Imported by child processes: the standard library and numpy only, on Python 3.10 and
later.
"""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from atoll.isolation.wire import FREE, RETRACT, Messages, message, pack_freed, parse_freed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.isolation.exchange import Exchange
    from atoll.tensor import Buffer

LARGE = 64 << 10  # from here on the parts of a message are not put together before they are sent
_POLL_AGAIN_S = 0.001


class ChannelClosedError(Exception):
    """The server is gone."""


class ChildChannel:
    """`handle(kind, key, payload)` is called for each message, on whichever thread reads; the payload is valid until
    it returns.
    """

    def __init__(self, data: socket.socket, exchange: Exchange, handle: Callable[[int, int, memoryview], None]):
        self._socket = data
        self._exchange = exchange
        self._handle = handle
        self._messages = Messages()
        self._reading = threading.Lock()  # held by who reads
        self._changed = threading.Condition()
        self._waiting = 0  # threads that wait for others to read
        self._out: list[Buffer] = []
        self._retracted: deque[int] = deque()
        self._flushes = 0
        self._writing = threading.Lock()
        self._sending = threading.Lock()  # taken after the other one, so that messages stay in order
        self._poll = select.poll()
        self._poll.register(data, select.POLLIN)
        self._polled = 0.0
        self.closed = False

    def fileno(self) -> int:
        """For an event loop that watches it."""
        return self._socket.fileno()

    # ---- out

    def queue(self, parts: Sequence[Buffer]) -> None:
        """Send this with the next `flush`. What shared memory holds may not be changed any more."""
        with self._writing:
            self._out += parts

    def mark(self) -> tuple[int, int]:
        """The place behind what is queued now, for `queue_at`."""
        with self._writing:
            return self._flushes, len(self._out)

    def queue_at(self, place: tuple[int, int], part: bytes) -> None:
        """As `queue`, in front of what has been queued since, where that has not gone yet."""
        flushes, index = place
        with self._writing:
            if flushes == self._flushes:
                self._out.insert(index, part)
            else:
                self._out.append(part)

    def flush(self) -> None:
        """Send what is queued, and which blocks of the server's memory are free again."""
        freed = self._exchange.freed()
        with self._writing:
            out, self._out = self._out, []
            self._flushes += 1
            if out:
                self._exchange.settle()
            if freed:
                out.append(pack_freed(freed))
            while self._retracted:
                out.append(message(RETRACT, self._retracted.popleft()))
            if not out:
                return
            self._sending.acquire()
        try:
            _send_all(self._socket, out)
        except OSError:
            self._lost()
        finally:
            self._sending.release()

    def retract(self, region: int) -> None:
        """A region of our memory is gone."""
        self._retracted.append(region)  # with the next flush, in the middle of which this may be called

    # ---- in

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Read until `done()` is true; False when `timeout` seconds were not enough. Raises ChannelClosedError."""
        deadline = None if timeout is None else monotonic() + timeout
        while not done():
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return False
            if self._reading.acquire(blocking=False):
                try:
                    if not done():
                        self._read(left)
                finally:
                    self._reading.release()
                    if self._waiting:
                        with self._changed:
                            self._changed.notify_all()
            else:
                with self._changed:
                    self._waiting += 1  # before the look: who reads lets go first, and then looks who waits
                    if self._reading.locked() and not done():
                        self._changed.wait(left)
                    self._waiting -= 1
            if self.closed and not done():
                raise ChannelClosedError
        return True

    def look(self, at_once: bool = False) -> None:
        """Read what has come, if nobody else is at it; returns at once. Unless it is to look `at_once`, it does nothing
        when called too often.
        """
        now = monotonic()
        if (now - self._polled < _POLL_AGAIN_S and not at_once) or not self._reading.acquire(blocking=False):
            return
        try:
            self._polled = now
            self._read(0)
        finally:
            self._reading.release()
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    def _read(self, timeout: float | None) -> None:
        if timeout is not None and not self._poll.poll(timeout * 1000):
            return
        try:
            count = self._socket.recv_into(self._messages.room())
        except OSError:
            count = 0
        if not count:
            self._lost()
            return
        self._messages.received(count)
        for kind, key, payload in self._messages:
            if kind == FREE:
                self._exchange.take_back(parse_freed(payload))
            elif kind == RETRACT:
                self._exchange.retracted(key)
            else:
                self._handle(kind, key, payload)

    def _lost(self) -> None:
        self.closed = True


def _send_all(data: socket.socket, parts: list[Buffer]) -> None:
    """Small parts in one piece; large ones as they are."""
    small: list[Buffer] = []
    for part in parts:
        if len(part) < LARGE:
            small.append(part)
            continue
        if small:
            data.sendall(b"".join(small))
            small = []
        data.sendall(part)
    if small:
        data.sendall(b"".join(small))
