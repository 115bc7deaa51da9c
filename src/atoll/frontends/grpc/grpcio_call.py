"""Calls as grpc.aio brings them: its contexts behind `atoll.frontends.grpc.transport`'s Call and StreamCall."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from atoll.frontends.grpc.metadata import checked
from atoll.frontends.grpc.transport import Compression, GrpcError, GrpcStatus, Message, Metadata

logger = logging.getLogger(__name__)
_SEND_HIGH_WATER = 1 << 20
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_ALGORITHMS = {
    Compression.LOW: grpc.Compression.Gzip,
    Compression.MEDIUM: grpc.Compression.Deflate,
    Compression.HIGH: grpc.Compression.Deflate,
}
Context = Any
"""grpc.aio.ServicerContext, which has no annotations."""


class GrpcioCall:
    """A unary call, answered through a future if it is PENDING."""

    def __init__(self, method: str, context: Context) -> None:
        self.compression = Compression.NONE
        self._method = method
        self._context = context
        remaining = context.time_remaining()
        self._deadline_ns = None if remaining is None else time.monotonic_ns() + int(remaining * 1e9)
        self._cancelled = False
        self._over = False
        self._started = False
        self._on_cancel: list[Callable[[], object]] = []
        self._initial: Metadata = ()
        self._trailing: Metadata = ()
        self._answer: asyncio.Future[Message] | None = None

    @property
    def method(self) -> str:
        return self._method

    @property
    def metadata(self) -> Metadata:
        return [(name, value) for name, value in self._context.invocation_metadata()]

    @property
    def peer(self) -> str:
        # grpc.aio gives the path of an address percent-encoded: ipv6:%5B::1%5D:50123
        return str(self._context.peer()).replace("%5B", "[").replace("%5D", "]") or "unknown"

    @property
    def deadline_ns(self) -> int | None:
        return self._deadline_ns

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def on_cancel(self, callback: Callable[[], object]) -> None:
        if self._cancelled:
            callback()
        elif not self._over:
            self._on_cancel.append(callback)

    def set_initial_metadata(self, items: Metadata) -> None:
        if self._started:
            raise ValueError("the initial metadata has already been sent")
        self._initial = checked(items)

    def set_trailing_metadata(self, items: Metadata) -> None:
        self._trailing = checked(items)

    def reply(self, message: Message) -> None:
        answer = self.answer()
        if not answer.done():
            answer.set_result(message)

    def fail(self, code: GrpcStatus, text: str = "") -> None:
        answer = self.answer()
        if not answer.done():
            answer.set_exception(GrpcError(code, text))

    def answer(self) -> "asyncio.Future[Message]":
        """What a PENDING call waits for; a handler may give the answer before it returns PENDING."""
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def cancel(self) -> None:
        """The client reset the call, went away, or its deadline passed."""
        if self._cancelled or self._over:
            return
        self._cancelled = True
        callbacks, self._on_cancel = self._on_cancel, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # the others must run all the same
                logger.exception("a cancellation callback of %s raised", self._method)

    def end(self) -> None:
        self._over = True
        self._on_cancel.clear()

    async def begin_response(self) -> None:
        """Sends the initial metadata, which also carries the choice of compression."""
        if self._started:
            return
        self._started = True
        if self.compression is not Compression.NONE:
            self._context.set_compression(_ALGORITHMS[self.compression])
        if self._initial:
            await self._context.send_initial_metadata(tuple(self._initial))

    async def abort(self, code: GrpcStatus, text: str) -> None:
        await self.begin_response()
        await self._context.abort(_CODES[int(code)], text, tuple(self._trailing))

    def set_trailers(self) -> None:
        if self._trailing:
            self._context.set_trailing_metadata(tuple(self._trailing))


class GrpcioStreamCall(GrpcioCall):
    """A streaming call: what is written waits in a queue that one task empties."""

    def __init__(self, method: str, context: Context) -> None:
        super().__init__(method, context)
        self._outbox: deque[bytes] = deque()
        self._buffered = 0
        self._writer: asyncio.Task[None] | None = None
        self._progress: asyncio.Future[None] | None = None

    def __aiter__(self) -> "GrpcioStreamCall":
        return self

    async def __anext__(self) -> bytes:
        message = await self._context.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return bytes(message)

    @property
    def buffered_bytes(self) -> int:
        return self._buffered

    def write(self, message: Message) -> None:
        if self._cancelled or self._over:
            return
        joined = message if isinstance(message, bytes) else b"".join(message)
        self._outbox.append(joined)
        self._buffered += len(joined)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_all())

    async def send(self, message: Message) -> None:
        self.write(message)
        while self._buffered > _SEND_HIGH_WATER and self._writer is not None:
            if self._progress is None:
                self._progress = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._progress)

    async def flush(self) -> None:
        """Waits until all that was written has been taken by grpcio."""
        while self._writer is not None:
            await asyncio.shield(self._writer)

    def end(self) -> None:
        super().end()
        if self._writer is not None:
            self._writer.cancel()

    async def _write_all(self) -> None:
        try:
            await self.begin_response()
            while self._outbox:
                message = self._outbox.popleft()
                await self._context.write(message)
                self._buffered -= len(message)
                self._wake()
        except Exception:  # the call is over: grpcio cancels its handler as well
            self._outbox.clear()
        finally:
            self._writer = None
            self._wake()

    def _wake(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)
