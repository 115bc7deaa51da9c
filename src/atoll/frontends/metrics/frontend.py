"""GET /metrics: the counters of every model, rendered when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from atoll.frontends.access.control import AccessControl
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import KIB, ConnectionLimits
from atoll.frontends.http.listening import HttpListening
from atoll.frontends.http.routes import Endpoint, Route, RouteTable
from atoll.frontends.listening.address import beside
from atoll.frontends.listening.options import ListenOptions, socket_mode
from atoll.frontends.listening.tls import TlsFiles
from atoll.frontends.metrics.page import MetricsPage
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings

if TYPE_CHECKING:
    from atoll.server import Server

_HEADERS = b"Content-Type: text/plain; charset=utf-8\r\n"
_LIMITS = ConnectionLimits(max_body_size=64 * KIB)  # a scrape has no body


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions(ListenOptions):
    """Where to listen, and what to report."""

    port: int = 8002
    cpu: bool = True
    interval_s: float = 2.0
    settings: MetricsSettings = DEFAULTS

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            host=values["metrics_address"] or beside(values["http_address"]),
            port=values["metrics_port"],
            tls=TlsFiles.from_values(values, "http", "metrics"),
            socket_mode=socket_mode(values),
            cpu=values["allow_cpu_metrics"],
            interval_s=values["metrics_interval_ms"] / 1000,
            settings=MetricsSettings.from_texts(values["metrics_config"]),
        )


class MetricsFrontend(HttpListening):
    """Serves on the event loop on which it is started."""

    def __init__(self, server: "Server", options: MetricsOptions, context: FrontendContext | None = None):
        context = context or FrontendContext(server)
        access = context.access
        self._page = MetricsPage(server, cpu=options.cpu, interval_s=options.interval_s, settings=options.settings)
        super().__init__(
            options, _LIMITS, lambda loop: MetricsService(self.page, access), "metrics", context.access_log
        )

    def page(self, exchange: Exchange, body: memoryview) -> Answer:
        """The endpoint itself."""
        return Answer(200, [self._page.text().encode("utf-8", "surrogateescape")], headers=_HEADERS)


class MetricsService:
    """The one document, under both of its paths."""

    def __init__(self, metrics: Endpoint, access: AccessControl | None):
        paths = ("/metrics", "/metrics/")
        table = [Route("GET", path, metrics, Api.METRICS, plain_errors=True) for path in paths]
        self.routes = RouteTable(table, None if access is None else access.hosted)

    def close(self) -> None:
        """Nothing here takes long."""
