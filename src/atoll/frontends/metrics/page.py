"""The text of the metrics page: of the server, its models, the machine, and what models count themselves."""

from typing import TYPE_CHECKING

from atoll.devices.cpu_meter import CpuMeter
from atoll.observability.metrics.rendering import render
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings

if TYPE_CHECKING:
    from atoll.server import Server


class MetricsPage:
    """`interval_s`: seconds between two measurements of the machine's CPU, which are left out with `cpu` off."""

    def __init__(
        self, server: "Server", *, cpu: bool = True, interval_s: float = 2.0, settings: MetricsSettings = DEFAULTS
    ):
        self._server = server
        self._cpu = CpuMeter(interval_s) if cpu else None
        self._settings = settings

    def text(self) -> str:
        """The page as it is now, in the Prometheus text format, version 0.0.4."""
        server = self._server
        text = render(
            server.statistics(),
            None if self._cpu is None else self._cpu.read(),
            server.memory_pool,
            server.response_cache,
            self._settings,
        )
        return text + server.custom_metrics.render()
