"""GET /metrics: the numbers of every model, of the server and the machine, written when they are asked for."""

import logging
from asyncio import get_running_loop
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from atoll.errors import AtollError
from atoll.frontends.access.control import AccessControl
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.answer import Answer, refusal_of
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import KIB, ConnectionLimits
from atoll.frontends.http.listening import HttpListening
from atoll.frontends.http.routes import Endpoint, Route, RouteTable
from atoll.frontends.listening.address import beside
from atoll.frontends.listening.options import ListenOptions, socket_mode
from atoll.frontends.listening.tls import TlsFiles
from atoll.frontends.metrics.page import MetricsPage
from atoll.frontends.metrics.scrapes import Scrape, Scrapes
from atoll.observability.metrics.settings import MetricsSettings
from atoll.slices import Slices

if TYPE_CHECKING:
    from atoll.server import Server

logger = logging.getLogger(__name__)

_HEADERS = b"Content-Type: text/plain; charset=utf-8\r\nVary: Accept-Encoding\r\n"
_LIMITS = ConnectionLimits(max_body_size=64 * KIB)  # a scrape has no body


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions(ListenOptions):
    """Where to listen, and what to report. `settings`: None are those of the server."""

    port: int = 8002
    cpu: bool = True
    gpu: bool = True
    interval_s: float = 2.0
    settings: MetricsSettings | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            host=values["metrics_address"] or beside(values["http_address"]),
            port=values["metrics_port"],
            tls=TlsFiles.from_values(values, "http", "metrics"),
            socket_mode=socket_mode(values),
            cpu=values["allow_cpu_metrics"],
            gpu=values["allow_gpu_metrics"],
            interval_s=values["metrics_interval_ms"] / 1000,
            settings=MetricsSettings.from_texts(values["metrics_config"]) if values["metrics_config"] else None,
        )


class MetricsFrontend(HttpListening):
    """Serves on the event loop on which it is started."""

    def __init__(self, server: "Server", options: MetricsOptions, context: FrontendContext | None = None):
        context = context or FrontendContext(server)
        access = context.access
        page = MetricsPage(
            server,
            cpu=options.cpu,
            gpu=options.gpu,
            interval_s=options.interval_s,
            settings=_settings(server, options.settings),
        )
        self._scrapes = Scrapes(lambda: page.parts(Slices()))
        super().__init__(
            options, _LIMITS, lambda loop: MetricsService(self.page, access), "metrics", context.access_log
        )

    def page(self, exchange: Exchange, body: memoryview) -> Answer | None:
        """The endpoint itself, on any event loop. Raises UnavailableError where too many scrapes wait."""

        def answer(parts: Sequence[bytes], coding: str, error: AtollError | None) -> None:
            if error is not None:
                exchange.answer(refusal_of(error, plain=True))
                return
            headers = _HEADERS + b"Content-Encoding: %b\r\n" % coding.encode() if coding else _HEADERS
            exchange.answer(Answer(200, list(parts), headers=headers))

        scrape = Scrape(get_running_loop(), exchange.head.accept_coding, answer)
        self._scrapes.submit(scrape)
        exchange.on_gone = scrape.cancel
        return None


def _settings(server: "Server", given: MetricsSettings | None) -> MetricsSettings:
    counted = MetricsSettings.from_texts(server.options.metrics_config)
    if given is None:
        return counted
    for name in ("summary_latencies", "histogram_latencies"):
        if getattr(given, name) and not getattr(counted, name):
            logger.warning(
                "metrics-config: %s is counted from a model's load on, and so must be said to the Server too", name
            )
    return given


class MetricsService:
    """The one document, under both of its paths."""

    def __init__(self, metrics: Endpoint, access: AccessControl | None):
        paths = ("/metrics", "/metrics/")
        table = [Route("GET", path, metrics, Api.METRICS, plain_errors=True) for path in paths]
        self.routes = RouteTable(table, None if access is None else access.hosted)

    def close(self) -> None:
        """Nothing here takes long."""
