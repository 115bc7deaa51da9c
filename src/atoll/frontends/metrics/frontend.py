"""GET /metrics: the counters of every model, rendered when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import KIB, ConnectionLimits
from atoll.frontends.http.port import Port, plain_address
from atoll.frontends.http.routes import Route, RouteTable
from atoll.observability.metrics import CpuMeter, render
from atoll.observability.metrics_settings import DEFAULTS, MetricsSettings

if TYPE_CHECKING:
    from atoll.server import Server

_HEADERS = b"Content-Type: text/plain; charset=utf-8\r\n"
_LIMITS = ConnectionLimits(max_body_size=64 * KIB)  # a scrape has no body


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """Where to listen, and what to report. Port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 8002
    cpu: bool = True
    interval_s: float = 2.0
    settings: MetricsSettings = DEFAULTS

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            host=plain_address(values["metrics_address"] or values["http_address"]),
            port=values["metrics_port"],
            cpu=values["allow_cpu_metrics"],
            interval_s=values["metrics_interval_ms"] / 1000,
            settings=MetricsSettings.from_texts(values["metrics_config"]),
        )


class MetricsFrontend:
    """Serves on the event loop on which it is started."""

    def __init__(self, server: "Server", options: MetricsOptions, context: FrontendContext | None = None):
        self._context = context or FrontendContext(server)
        self._server = server
        self._options = options
        self._cpu = CpuMeter(options.interval_s) if options.cpu else None
        self._port: Port | None = None
        self.addresses: list[tuple[str, int]] = []

    async def start(self) -> None:
        """Listen. Raises OSError naming the address."""
        table = RouteTable(
            [Route("GET", path, self._metrics, Api.METRICS, plain_errors=True) for path in ("/metrics", "/metrics/")]
        )
        self._port = Port(table, _LIMITS)
        self.addresses = await self._port.listen(HttpConnection, self._options.host, self._options.port, False)

    async def drain(self, timeout_s: float) -> None:
        """Accept nobody new, answer what is in flight, close; after the timeout whatever is left, too."""
        if self._port is not None:
            await self._port.drain(timeout_s)

    async def stop(self) -> None:
        """Close everything at once."""
        if self._port is not None:
            await self._port.stop()

    def _metrics(self, exchange: Exchange, body: memoryview) -> Answer:
        cpu = None if self._cpu is None else self._cpu.read()
        text = render(
            self._server.statistics(),
            cpu,
            getattr(self._server, "memory_pool", None),
            getattr(self._server, "response_cache", None),
            self._options.settings,
        )
        text += self._server.custom_metrics.render()
        return Answer(200, [text.encode("utf-8", "surrogateescape")], headers=_HEADERS)
