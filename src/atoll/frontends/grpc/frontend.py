"""gRPC as a frontend: the servicer on the chosen transport, listening on one address."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.choose import TransportName, choose_transport
from atoll.frontends.grpc.servicer import Servicer
from atoll.frontends.grpc.stream import StreamLimits
from atoll.frontends.grpc.transport import Compression, TlsFiles, Transport, TransportOptions
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
                tls=_tls(values),
                reuse_port=values["reuse_grpc_port"],
            ),
        )


def _tls(values: Mapping[str, Any]) -> TlsFiles | None:
    mutual = values["grpc_use_ssl_mutual"]
    if not (values["grpc_use_ssl"] or mutual):
        return None
    root = values["grpc_root_cert"]
    return TlsFiles(
        certificate=Path(values["grpc_server_cert"]),
        key=Path(values["grpc_server_key"]),
        root=Path(root) if root else None,
        mutual=mutual,
    )


class GrpcFrontend:
    """Serves a server over gRPC on the event loop that `start` runs on."""

    def __init__(self, server: Server, options: GrpcOptions | None = None, context: FrontendContext | None = None):
        self._context = context or FrontendContext(server)
        self.addresses: list[tuple[str, int]] = []
        self._server = server
        self._options = options if options is not None else GrpcOptions()
        self._servicer: Servicer | None = None
        self._transport: Transport | None = None

    async def start(self) -> None:
        """Listens. OSError, naming the address, if it cannot; MissingExtraError if the transport demanded is not."""
        options = self._options
        transport_class, why = choose_transport(options.transport)
        logger.info("%s", why)
        self._servicer = servicer = Servicer(
            self._server,
            asyncio.get_running_loop(),
            options.infer_response_compression,
            options.stream_limits,
            self._context,
        )
        self._transport = transport_class(servicer.unary, servicer.stream, options.transport_options)
        port = await self._transport.start(options.host, options.port)
        self.addresses = [(options.host, port)]

    async def drain(self, timeout_s: float) -> None:
        """Takes no new calls, lets those in flight finish for at most so many seconds, then stops."""
        if self._servicer is not None:
            self._servicer.close()
        if self._transport is not None:
            await self._transport.drain(timeout_s)

    async def stop(self) -> None:
        """Ends every call and connection now."""
        if self._servicer is not None:
            self._servicer.close()
        if self._transport is not None:
            await self._transport.stop()
