"""The HTTP/REST frontend of a server process."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.frontends.context import FrontendContext
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.port import Port, plain_address
from atoll.frontends.http.service import HttpService

if TYPE_CHECKING:
    from atoll.server import Server


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where to listen, and what a client may cost. Port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 8000
    reuse_port: bool = False
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            host=plain_address(values["http_address"]),
            port=values["http_port"],
            reuse_port=values["reuse_http_port"],
            limits=ConnectionLimits(max_body_size=values["http_max_input_size"]),
        )


class HttpFrontend:
    """Serves on the event loop on which it is started."""

    def __init__(self, server: "Server", options: HttpOptions, context: FrontendContext | None = None):
        self._context = context or FrontendContext(server)
        self._server = server
        self._options = options
        self._service: HttpService | None = None
        self._port: Port | None = None
        self.addresses: list[tuple[str, int]] = []

    async def start(self) -> None:
        """Listen. Raises OSError naming the address."""
        options = self._options
        self._service = HttpService(
            self._server, asyncio.get_running_loop(), options.limits.max_body_size, self._context
        )
        self._port = Port(self._service.routes, options.limits)
        self.addresses = await self._port.listen(HttpConnection, options.host, options.port, options.reuse_port)

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new, answer what is in flight, close; after the timeout whatever is left, too."""
        if self._service is not None:
            self._service.close()
        if self._port is not None:
            await self._port.drain(timeout_s)

    async def stop(self) -> None:
        """Close everything at once."""
        if self._service is not None:
            self._service.close()
        if self._port is not None:
            await self._port.stop()
