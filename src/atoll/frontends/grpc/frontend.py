"""gRPC as a frontend: the servicer on the chosen transport, listening on one address."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.choose import TransportName, choose_transport
from atoll.frontends.grpc.servicer import Servicer
from atoll.frontends.grpc.stream import StreamLimits
from atoll.frontends.grpc.transport import PROTOCOLS, Compression, Transport, TransportOptions
from atoll.frontends.listening.acceptor import Acceptor, Lane
from atoll.frontends.listening.buffering import default_buffer_bytes
from atoll.frontends.listening.loops import EventLoops
from atoll.frontends.listening.options import ListenOptions, socket_mode
from atoll.frontends.listening.tls import TlsFiles, tls_context
from atoll.server import Server

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """Where gRPC listens and how. Port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 8001
    transport: TransportName = "auto"
    infer_response_compression: Compression = Compression.NONE
    stream_limits: StreamLimits = field(default_factory=StreamLimits)
    transport_options: TransportOptions = field(default_factory=TransportOptions)
    loops: int = 0
    """Event loops with a thread each; 0 is the one that starts it. On nghttp2."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options by field name, as options.py defines them."""
        return cls(
            host=values["grpc_address"],
            port=values["grpc_port"],
            transport=values["grpc_transport"],
            infer_response_compression=Compression[values["grpc_infer_response_compression_level"].upper()],
            transport_options=TransportOptions(
                keepalive_time_ms=values["grpc_keepalive_time"],
                keepalive_timeout_ms=values["grpc_keepalive_timeout"],
                keepalive_permit_without_calls=values["grpc_keepalive_permit_without_calls"],
                http2_max_pings_without_data=values["grpc_http2_max_pings_without_data"],
                http2_min_recv_ping_interval_without_data_ms=values["grpc_http2_min_recv_ping_interval_without_data"],
                http2_max_ping_strikes=values["grpc_http2_max_ping_strikes"],
                max_connection_age_ms=values["grpc_max_connection_age"] or None,
                max_connection_age_grace_ms=values["grpc_max_connection_age_grace"] or None,
                max_message_bytes=values["grpc_max_message_size"],
                max_connections=values["grpc_max_connections"],
                tls=TlsFiles.from_values(values, "grpc"),
                reuse_port=values["reuse_grpc_port"],
                socket_mode=socket_mode(values),
            ),
            loops=values["grpc_infer_thread_count"],
        )


class GrpcFrontend:
    """Accepts connections on the event loop that `start` runs on."""

    def __init__(self, server: Server, options: GrpcOptions | None = None, context: FrontendContext | None = None):
        """Raises OSError for certificates that cannot be used."""
        self._context = context or FrontendContext(server)
        self.addresses: list[tuple[str, int]] = []
        self._server = server
        self._options = options if options is not None else GrpcOptions()
        if self._options.transport_options.tls is not None:
            tls_context(self._options.transport_options.tls, PROTOCOLS)
        self._loops = EventLoops(0, "grpc")
        self._acceptor: Acceptor | None = None
        self._shares: list[_Share] = []

    @property
    def calls_in_flight(self) -> int:
        """Over all event loops."""
        return sum(share.transport.calls_in_flight for share in self._shares)

    async def start(self) -> None:
        """Listens. OSError, naming the address, if it cannot; MissingExtraError if the transport demanded is not."""
        options = self._options
        kind, why = choose_transport(options.transport)
        logger.info("%s", why)
        spread = getattr(kind, "open", None) is not None
        if options.loops and not spread:
            logger.warning(
                "--grpc-infer-thread-count=%d has no effect on the grpcio transport: it reads and writes on threads "
                "of its own, and calls one event loop",
                options.loops,
            )
        if not spread and options.transport_options.max_connections != TransportOptions().max_connections:
            logger.warning("--grpc-max-connections has no effect on the grpcio transport: it has no such limit")
        try:
            if spread:
                await self._start_spread(kind)
            else:
                await self._start_alone(kind)
        except BaseException:
            await self.stop()
            raise

    async def _start_alone(self, kind: type[Transport]) -> None:
        options = self._options
        share = await self._make_share(kind, asyncio.get_running_loop(), options.transport_options)
        self._shares.append(share)
        port = await share.transport.start(options.host, options.port)
        self.addresses = [(options.host, port)]

    async def _start_spread(self, kind: type[Any]) -> None:
        options = self._options
        self._loops = EventLoops(options.loops, "grpc")
        self._loops.start()
        transport_options = shared_by(options.transport_options, len(self._loops.loops))
        lanes: list[Lane] = []
        for loop in self._loops.loops:
            share = await self._loops.run(loop, self._make_share(kind, loop, transport_options))
            self._shares.append(share)
            lanes.append(await self._loops.run(loop, share.open()))
        listen = ListenOptions(
            host="::" if options.host == "0.0.0.0" else options.host,  # as gRPC's own servers understand it
            port=options.port,
            reuse_port=transport_options.reuse_port,
            tls=transport_options.tls,
            socket_mode=transport_options.socket_mode,
        )
        self._acceptor = Acceptor(listen, lanes, PROTOCOLS, transport_options.handshake_timeout_ms / 1000)
        self.addresses = await self._acceptor.start()

    async def _make_share(
        self, kind: type[Transport], loop: asyncio.AbstractEventLoop, options: TransportOptions
    ) -> "_Share":
        servicer = Servicer(
            self._server,
            loop,
            self._options.infer_response_compression,
            self._options.stream_limits,
            self._context,
        )
        return _Share(loop, servicer, kind(servicer.unary, servicer.stream, options))

    async def drain(self, timeout_s: float) -> None:
        """Takes no new calls, lets those in flight finish for at most so many seconds, then stops."""
        if self._acceptor is not None:
            self._acceptor.close()
        await self._loops.run_each([(share.loop, share.drain(timeout_s)) for share in self._shares], timeout_s)
        await self.stop()

    async def stop(self) -> None:
        """Ends every call and connection now."""
        if self._acceptor is not None:
            self._acceptor.close()
        shares, self._shares = self._shares, []
        await self._loops.run_each([(share.loop, share.stop()) for share in shares], 0)
        await self._loops.stop()


class _Share:
    """What one event loop has of it. All but the constructor belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, servicer: Servicer, transport: Any):
        self.loop = loop
        self.transport = transport
        self._servicer = servicer

    async def open(self) -> Lane:
        lane: Lane = self.transport.open()
        return lane

    async def drain(self, timeout_s: float) -> None:
        self._servicer.close()
        await self.transport.drain(timeout_s)

    async def stop(self) -> None:
        self._servicer.close()
        await self.transport.stop()


def shared_by(options: TransportOptions, loops: int) -> TransportOptions:
    """What each of so many event loops allows, so that all of them together keep to this."""
    if loops == 1:
        return options
    buffered = options.max_buffered_bytes
    if buffered is None:
        buffered = default_buffer_bytes()
    return replace(options, max_buffered_bytes=buffered // loops, max_connections=-(-options.max_connections // loops))
