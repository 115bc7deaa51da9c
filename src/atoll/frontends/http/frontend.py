"""The HTTP/REST frontend of a server process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.frontends.context import FrontendContext
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.listening import HttpListening
from atoll.frontends.http.service import HttpService
from atoll.frontends.listening.options import ListenOptions, socket_mode
from atoll.frontends.listening.tls import TlsFiles

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions(ListenOptions):
    """Where to listen, and what a client may cost."""

    port: int = 8000
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name. Raises InvalidArgumentError for TLS without its files."""
        return cls(
            host=values["http_address"],
            port=values["http_port"],
            reuse_port=values["reuse_http_port"],
            tls=TlsFiles.from_values(values, "http"),
            loops=values["http_thread_count"],
            socket_mode=socket_mode(values),
            limits=ConnectionLimits.from_values(values),
        )


class HttpFrontend:
    """Accepts connections on the event loop on which it is started."""

    def __init__(self, server: "Server", options: HttpOptions, context: FrontendContext | None = None):
        self._context = context or FrontendContext(server)
        self._server = server
        self._options = options
        self._listening = HttpListening(options, options.limits, self._service, access_log=self._context.access_log)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What is listened on."""
        return self._listening.addresses

    async def start(self) -> None:
        """Listen. Raises OSError naming the address, or the file of a certificate that cannot be used."""
        await self._listening.start()

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new, answer what is in flight, close; after the timeout whatever is left, too."""
        await self._listening.drain(timeout_s)

    async def stop(self) -> None:
        """Close everything at once."""
        await self._listening.stop()

    def _service(self, loop: "AbstractEventLoop") -> HttpService:
        return HttpService(self._server, loop, self._options.limits.max_body_size, self._context)
