"""The server's end of the channel to a child: never blocks, whatever the child does."""

import errno
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from atoll.isolation.exchange import Exchange
from atoll.isolation.readers import Readers
from atoll.isolation.wire import FREE, RETRACT, Messages, WireError, message, pack_freed, parse_freed
from atoll.tensor import Buffer
from atoll.trampoline import hold, let_go

logger = logging.getLogger(__name__)

MESSAGES_AT_ONCE = 64 << 10  # small ones are put together up to here
TURNS = 4  # reads in a row before the others get theirs

Handle = Callable[[int, int, memoryview], None]


class Channel:
    """Thread-safe. `handle(kind, key, payload)` is called for each message, one at a time, on the thread that reads,
    and `settled()` when there are no more for now. `broken(reason)` once, where the child has sent nonsense; `lost()`
    once, where its end is closed.
    """

    def __init__(
        self,
        data: socket.socket,
        exchange: Exchange,
        readers: Readers,
        handle: Handle,
        settled: Callable[[], None],
        broken: Callable[[str], None],
        lost: Callable[[], None] = lambda: None,
    ):
        data.setblocking(False)
        self._socket = data
        self._fd = data.fileno()
        self._exchange = exchange
        self._readers = readers
        self._handle = handle
        self._settled = settled
        self._broken = broken
        self._lost = lost
        self._messages = Messages()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._queued: list[Buffer] = []
        self._outbox: deque[memoryview] = deque()  # what the socket has not taken yet
        self._deaf = False  # nothing goes any more
        self._ended = False  # nothing comes any more

    def open(self) -> None:
        """Begin to read."""
        self._readers.watch(self._fd, self._on_readable)

    # ---- out

    def queue(self, parts: Sequence[Buffer]) -> None:
        """Send this with the next `flush`. What shared memory holds may not be changed any more."""
        with self._writing:
            self._queued += parts

    def flush(self) -> None:
        """Send what is queued, and which blocks of the child's memory are free again."""
        freed = self._exchange.freed()
        if not (freed or self._queued):
            return
        with self._writing:
            parts, self._queued = self._queued, []
            if freed:
                parts.append(pack_freed(freed))  # behind a message that sends such a block back
            if not parts or self._deaf:
                return
            if self._outbox:
                self._outbox += map(memoryview, parts)
                return
            if len(parts) == 1 or sum(map(len, parts)) <= MESSAGES_AT_ONCE:
                data = memoryview(b"".join(parts))
                sent = self._send(data)
                if sent < len(data):
                    self._outbox.append(data[sent:])
            else:
                self._outbox += [memoryview(part) for part in parts]
                self._empty_outbox()
            if self._outbox:  # under the lock: who finds the outbox empty says the opposite
                self._readers.when_writable(self._fd, self._on_writable)

    def retract(self, region: int) -> None:
        """A region of our memory is gone."""
        self.queue([message(RETRACT, region)])

    def _send(self, data: memoryview, touched: bool = False) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EFAULT and not touched:
                _touch(data)
                return self._send(data, touched=True)
            self._deaf = True  # the child is gone, and whoever watches it says so; what it said is still to be read
            self._outbox.clear()
            return len(data)

    def _empty_outbox(self) -> None:
        outbox = self._outbox
        while outbox:
            data = outbox[0]
            sent = self._send(data)
            if not outbox:
                return
            if sent < len(data):
                outbox[0] = data[sent:]
                return
            outbox.popleft()

    def _on_writable(self) -> None:
        with self._writing:
            self._empty_outbox()
            if not self._outbox:
                self._readers.when_writable(self._fd, None)

    # ---- in

    def _on_readable(self) -> None:
        if not self._reading.acquire(blocking=False):
            return  # another thread is at it, and is called again while there is more
        outermost = hold()  # what the answers cause goes out together
        try:
            try:
                self._read(TURNS)
            finally:
                self._reading.release()
            self._settled()
        finally:
            let_go(outermost)

    def read_rest(self) -> None:
        """Read all that has come: the child has ended."""
        with self._reading:
            self._read(1 << 30)
        self._settled()

    def _read(self, turns: int) -> None:
        messages = self._messages
        for _ in range(turns):
            if self._ended:
                return
            room = messages.room()
            try:
                count = self._socket.recv_into(room)
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if not count:
                self._ended = self._deaf = True
                self._readers.unwatch(self._fd)
                self._lost()
                return
            messages.received(count)
            try:
                for kind, key, payload in messages:
                    if kind == FREE:
                        self._exchange.take_back(parse_freed(payload))
                    elif kind == RETRACT:
                        self._exchange.retracted(key)
                    else:
                        self._handle(kind, key, payload)
            except Exception as error:  # whatever nonsense leads to: nothing of it may reach the other children
                if not isinstance(error, (WireError, ValueError)):
                    logger.exception("what a process has sent cannot be handled")
                self._ended = self._deaf = True
                self._readers.unwatch(self._fd)
                self._broken(str(error))
                return
            if count < len(room) and turns == TURNS:
                return  # that was all for now

    # ---- end

    def close(self) -> None:
        """Let go of the socket and of the shared memory. Views of it that live stay readable."""
        with self._writing:
            self._ended = self._deaf = True
            self._outbox.clear()
            self._queued.clear()
        self._readers.unwatch(self._fd, self._close)

    def _close(self) -> None:
        with self._reading:
            self._socket.close()
            self._exchange.close()


def _touch(data: memoryview) -> None:
    """Read all of it, in memory of ours. What a client shares with the server, and has cut short, the system does not
    send; but who reads it finds zeros there from then on (frontends/shared_memory), and those are sent.
    """
    for start in range(0, len(data), MESSAGES_AT_ONCE):
        bytes(data[start : start + MESSAGES_AT_ONCE])
