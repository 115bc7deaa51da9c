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


class HttpFrontend(HttpListening):
    """Accepts connections on the event loop on which it is started."""

    def __init__(self, server: "Server", options: HttpOptions, context: FrontendContext | None = None):
        context = context or FrontendContext(server)
        limits = options.limits

        def service(loop: "AbstractEventLoop") -> HttpService:
            return HttpService(server, loop, limits.max_body_size, context)

        super().__init__(options, limits, service, access_log=context.access_log)
