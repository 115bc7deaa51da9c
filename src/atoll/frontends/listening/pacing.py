"""Between TLS and a protocol: hands TLS no more than the client takes, and ends the connection when all was taken.

TLS as event loops do it encrypts whatever it is given at once, says nothing of what has not reached the socket, and
once it is closed drops that after a few seconds: a slow client would lose the end of a large answer.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol, cast

Buffer = bytes | bytearray | memoryview

PIECE = 64 << 10
_HIGH_WATER = 128 << 10
"""What TLS may hold, encrypted; as much again may lie in the loop's own buffer."""


class BufferedProtocol(Protocol):
    """What the protocol behind it has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def get_buffer(self, sizehint: int) -> Any: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def eof_received(self) -> Any: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Paced(asyncio.BufferedProtocol):
    """A protocol towards TLS, and towards the protocol behind it the transport. Belongs to the loop's thread."""

    def __init__(self, behind: BufferedProtocol):
        self._behind = behind
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[memoryview] = deque()
        self._backlog_bytes = 0
        self._held = False  # TLS has enough for now
        self._told = False  # and the protocol behind knows
        self._closing = False
        # what comes in costs nothing on its way
        self.get_buffer = behind.get_buffer  # type: ignore[method-assign]
        self.buffer_updated = behind.buffer_updated  # type: ignore[method-assign]
        self.eof_received = behind.eof_received  # type: ignore[method-assign]

    # ---- what TLS calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER, 0)
        self._behind.connection_made(cast(asyncio.BaseTransport, self))

    def connection_lost(self, error: Exception | None) -> None:
        self._backlog.clear()
        self._backlog_bytes = 0
        self._behind.connection_lost(error)

    def pause_writing(self) -> None:
        self._held = True

    def resume_writing(self) -> None:
        self._held = False
        self._pass_on()

    # ---- what the protocol behind calls: a transport's methods

    def write(self, data: Buffer) -> None:
        """Soon, and in order."""
        if self._backlog or self._held or len(data) > PIECE:
            self._keep(data)
            self._pass_on()
        else:
            assert self._transport is not None, "written to before it was made. This is a bug"
            self._transport.write(data)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        for part in parts:
            self._keep(part)
        self._pass_on()

    def get_write_buffer_size(self) -> int:
        assert self._transport is not None, "asked before it was made. This is a bug"
        return self._backlog_bytes + self._transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """When all that was written has been taken."""
        if not self._closing:
            self._closing = True
            self._end_if_done()

    def is_closing(self) -> bool:
        return self._closing or self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        assert self._transport is not None, "cut before it was made. This is a bug"
        self._transport.abort()

    def pause_reading(self) -> None:
        assert self._transport is not None, "paused before it was made. This is a bug"
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        assert self._transport is not None, "resumed before it was made. This is a bug"
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    # ----

    def _keep(self, data: Buffer) -> None:
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        if view:
            self._backlog.append(view)
            self._backlog_bytes += len(view)

    def _pass_on(self) -> None:
        transport = self._transport
        assert transport is not None, "written to before it was made. This is a bug"
        while self._backlog and not self._held:
            first = self._backlog.popleft()
            if len(first) > PIECE:
                self._backlog.appendleft(first[PIECE:])
                first = first[:PIECE]
            self._backlog_bytes -= len(first)
            transport.write(first)  # may set `_held`
        if self._backlog and not self._told:
            self._told = True
            self._behind.pause_writing()
        elif self._told and not self._backlog:
            self._told = False
            self._behind.resume_writing()
        if self._closing:
            self._end_if_done()

    def _end_if_done(self) -> None:
        transport = self._transport
        if transport is None or self._backlog:
            return
        if transport.get_write_buffer_size():
            if not self._held:
                transport.set_write_buffer_limits(1, 0)  # tells when nothing is left: see resume_writing
        else:
            transport.close()
