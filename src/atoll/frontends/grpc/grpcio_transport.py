"""The gRPC transport on grpc.aio: always installed, the fallback, and the yardstick of correctness for the other one.

grpcio bounds the size of a message but not what is buffered in all, and knows nothing of its connections: the caps on
buffered bytes and on connections and the handshake timer of `TransportOptions` have no effect here.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from atoll.frontends.grpc.failures import status_of
from atoll.frontends.grpc.grpcio_credentials import server_credentials
from atoll.frontends.grpc.metadata import checked
from atoll.frontends.grpc.transport import (
    PENDING,
    Compression,
    GrpcError,
    GrpcStatus,
    Message,
    Metadata,
    StreamHandler,
    TransportOptions,
    UnaryHandler,
)
from atoll.frontends.listening.address import grpc_target, parse_address
from atoll.frontends.listening.sockets import SocketFile, make_way

_LOG = logging.getLogger(__name__)
_SEND_HIGH_WATER = 1 << 20
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_ALGORITHMS = {
    Compression.LOW: grpc.Compression.Gzip,
    Compression.MEDIUM: grpc.Compression.Deflate,
    Compression.HIGH: grpc.Compression.Deflate,
}
_Context = Any  # grpc.aio.ServicerContext, which has no annotations


class GrpcioCall:
    """A unary call, answered through a future if it is PENDING."""

    def __init__(self, method: str, context: _Context) -> None:
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
                _LOG.exception("a cancellation callback of %s raised", self._method)

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

    def __init__(self, method: str, context: _Context) -> None:
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


class GrpcioTransport:
    """grpc.aio behind `atoll.frontends.grpc.transport.Transport`."""

    def __init__(
        self,
        unary: Mapping[str, UnaryHandler],
        stream: Mapping[str, StreamHandler],
        options: TransportOptions,
    ) -> None:
        self._unary = dict(unary)
        self._stream = dict(stream)
        self._options = options
        self._server: Any = None
        self._file: SocketFile | None = None
        self._calls: set[GrpcioCall] = set()

    async def start(self, host: str, port: int) -> int:
        place = parse_address(host, port)
        address = grpc_target(place)
        if place.path:
            make_way(place.path)
        self._server = grpc.aio.server(options=_channel_arguments(self._options))
        self._server.add_generic_rpc_handlers(
            (_Procedures(self._serve_unary, self._serve_stream, self._unary, self._stream),)
        )
        tls = self._options.tls
        try:
            if tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, server_credentials(tls))
        except RuntimeError as refused:
            bound, reason = 0, str(refused)
        else:
            reason = "grpcio gives no reason"
        if not bound:
            raise OSError(f"cannot listen for gRPC on {address}: {reason}")
        if place.path:
            os.chmod(place.path, self._options.socket_mode)
            self._file = SocketFile.at(place.path)
        await self._server.start()
        return 0 if place.path else int(bound)

    async def drain(self, timeout_s: float) -> None:
        if self._server is not None:
            await self._server.stop(timeout_s)
            self._remove_file()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._remove_file()

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.remove()

    @property
    def connections(self) -> int | None:
        return None

    @property
    def calls_in_flight(self) -> int:
        return len(self._calls)

    async def _serve_unary(self, method: str, request: bytes, context: _Context) -> bytes:
        call = GrpcioCall(method, context)
        self._calls.add(call)
        try:
            try:
                result = self._unary[method](call, request)
                if result is PENDING:
                    result = await _unless_cancelled(call, call.answer())
                elif not isinstance(result, bytes | list | tuple):
                    result = await _unless_cancelled(call, result)
                answer = result if isinstance(result, bytes) else b"".join(result)
            except (Exception, asyncio.CancelledError) as error:
                if call.cancelled:
                    raise
                await call.abort(*status_of(error, method))
                raise
            await call.begin_response()
            call.set_trailers()
            return answer
        finally:
            call.end()
            self._calls.discard(call)

    async def _serve_stream(self, method: str, context: _Context) -> None:
        call = GrpcioStreamCall(method, context)
        self._calls.add(call)
        try:
            try:
                await _unless_cancelled(call, self._stream[method](call))
            except (Exception, asyncio.CancelledError) as error:
                if call.cancelled:
                    raise
                await call.flush()
                await call.abort(*status_of(error, method))
            await call.flush()
            await call.begin_response()
            call.set_trailers()
        finally:
            call.end()
            self._calls.discard(call)


async def _unless_cancelled(call: GrpcioCall, awaitable: Any) -> Any:
    """What the handler answers. grpc.aio cancels who serves the call; the call is to know of it before its handler
    does."""
    task = asyncio.ensure_future(awaitable)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            call.cancel()
            task.cancel()
            await asyncio.wait([task])
        raise


class _Procedures(grpc.GenericRpcHandler):
    def __init__(
        self,
        serve_unary: Callable[[str, bytes, _Context], Awaitable[bytes]],
        serve_stream: Callable[[str, _Context], Awaitable[None]],
        unary: Mapping[str, UnaryHandler],
        stream: Mapping[str, StreamHandler],
    ) -> None:
        self._found = {path: _unary_procedure(path, serve_unary) for path in unary}
        self._found |= {path: _stream_procedure(path, serve_stream) for path in stream}

    def service(self, handler_call_details: Any) -> Any:
        return self._found.get(handler_call_details.method)


def _unary_procedure(path: str, serve: Callable[[str, bytes, _Context], Awaitable[bytes]]) -> Any:
    async def procedure(request: bytes, context: _Context) -> bytes:
        return await serve(path, request, context)

    return grpc.unary_unary_rpc_method_handler(procedure)


def _stream_procedure(path: str, serve: Callable[[str, _Context], Awaitable[None]]) -> Any:
    async def procedure(_requests: Any, context: _Context) -> None:
        await serve(path, context)

    return grpc.stream_stream_rpc_method_handler(procedure)


def _channel_arguments(options: TransportOptions) -> list[tuple[str, int]]:
    arguments = [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", options.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
        ("grpc.max_concurrent_streams", options.max_concurrent_streams),
        ("grpc.keepalive_time_ms", options.keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", options.keepalive_timeout_ms),
        (
            "grpc.keepalive_permit_without_calls",
            int(options.keepalive_permit_without_calls),
        ),
        ("grpc.http2.max_pings_without_data", options.http2_max_pings_without_data),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            options.http2_min_recv_ping_interval_without_data_ms,
        ),
        ("grpc.http2.max_ping_strikes", options.http2_max_ping_strikes),
        ("grpc.so_reuseport", int(options.reuse_port)),
    ]
    for name, value in (
        ("grpc.max_connection_age_ms", options.max_connection_age_ms),
        ("grpc.max_connection_age_grace_ms", options.max_connection_age_grace_ms),
        ("grpc.max_connection_idle_ms", options.idle_timeout_ms),
    ):
        if value is not None:
            arguments.append((name, value))
    return arguments
