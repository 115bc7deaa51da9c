"""What is written to one stream: at once while the client keeps up, else kept, up to a limit, until it does."""

import asyncio
from collections import deque
from collections.abc import Callable

from atoll.frontends.grpc.transport import Message, StreamCall, size_of

_HIGH_WATER = 1 << 20


class StreamWriter:
    """Belongs to the loop's thread. `on_caught_up`: nothing is kept any more; `on_overflow`: more than `limit` bytes
    would have to be.
    """

    def __init__(self, call: StreamCall, limit: int, on_caught_up: Callable[[], None], on_overflow: Callable[[], None]):
        self._call = call
        self._limit = limit
        self._on_caught_up = on_caught_up
        self._on_overflow = on_overflow
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def behind(self) -> bool:
        """Whether the client has not taken in yet what was written."""
        return self._task is not None

    def write(self, message: Message) -> None:
        """It goes, in its turn, unless this was closed."""
        if self._closed:
            return
        if self._task is None and self._call.buffered_bytes <= _HIGH_WATER:
            self._call.write(message)
            return
        self._kept.append(message)
        self._kept_bytes += size_of(message)
        if self._kept_bytes > self._limit:
            self._on_overflow()
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_kept())

    def close(self) -> None:
        """Nobody reads it any more: what is kept does not go."""
        self._closed = True
        self._kept.clear()
        if self._task is not None:
            self._task.cancel()

    async def _write_kept(self) -> None:
        try:
            while self._kept:
                message = self._kept.popleft()
                self._kept_bytes -= size_of(message)
                await self._call.send(message)
        finally:
            self._task = None
            self._on_caught_up()
