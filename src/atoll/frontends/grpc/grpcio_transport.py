"""The gRPC transport on grpc.aio: always installed, the fallback, and the yardstick of correctness for the other one.

grpcio bounds the size of a message but not what is buffered in all, and knows nothing of its connections: the caps on
buffered bytes and on connections and the handshake timer of `TransportOptions` have no effect here.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from atoll.frontends.grpc.failures import status_of
from atoll.frontends.grpc.grpcio_call import Context, GrpcioCall, GrpcioStreamCall
from atoll.frontends.grpc.grpcio_credentials import server_credentials
from atoll.frontends.grpc.transport import (
    PENDING,
    StreamHandler,
    TransportOptions,
    UnaryHandler,
)
from atoll.frontends.listening.address import grpc_target, parse_address
from atoll.frontends.listening.sockets import SocketFile, make_way


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

    async def _serve_unary(self, method: str, request: bytes, context: Context) -> bytes:
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

    async def _serve_stream(self, method: str, context: Context) -> None:
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
        serve_unary: Callable[[str, bytes, Context], Awaitable[bytes]],
        serve_stream: Callable[[str, Context], Awaitable[None]],
        unary: Mapping[str, UnaryHandler],
        stream: Mapping[str, StreamHandler],
    ) -> None:
        self._found = {path: _unary_procedure(path, serve_unary) for path in unary}
        self._found |= {path: _stream_procedure(path, serve_stream) for path in stream}

    def service(self, handler_call_details: Any) -> Any:
        return self._found.get(handler_call_details.method)


def _unary_procedure(path: str, serve: Callable[[str, bytes, Context], Awaitable[bytes]]) -> Any:
    async def procedure(request: bytes, context: Context) -> bytes:
        return await serve(path, request, context)

    return grpc.unary_unary_rpc_method_handler(procedure)


def _stream_procedure(path: str, serve: Callable[[str, Context], Awaitable[None]]) -> Any:
    async def procedure(_requests: Any, context: Context) -> None:
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
