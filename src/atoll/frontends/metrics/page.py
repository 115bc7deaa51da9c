"""The text of the metrics page: of the server, its models, the machine, and what models count themselves."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from atoll.devices.cpu_meter import CpuMeter
from atoll.devices.gpu_meter import GpuMeter
from atoll.devices.process_meter import ProcessMeter
from atoll.observability.metrics import machine_families, server_families
from atoll.observability.metrics.model_texts import ModelTexts
from atoll.observability.metrics.pace import Pace, hurry
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings

if TYPE_CHECKING:
    from atoll.server import Server


class MetricsPage:
    """Thread-safe. `interval_s`: seconds between two measurements of the machine's CPU and GPUs, and of the models'
    memory; without `cpu` and `gpu` those two are left out.
    """

    def __init__(
        self,
        server: "Server",
        *,
        cpu: bool = True,
        gpu: bool = True,
        interval_s: float = 2.0,
        settings: MetricsSettings = DEFAULTS,
    ):
        self._server = server
        self._cpu = CpuMeter(interval_s) if cpu else None
        self._gpu = GpuMeter(interval_s) if gpu else None
        self._process = ProcessMeter()
        self._models = ModelTexts(settings)
        self._interval_s = interval_s
        self._memory: dict[tuple[str, str], int] = {}
        self._memory_due_s = 0.0
        self._lock = threading.Lock()

    def text(self) -> str:
        """The page as it is now, in the Prometheus text format, version 0.0.4."""
        return b"".join(self.parts()).decode("utf-8", "surrogateescape")

    def parts(self, pace: Pace = hurry) -> list[bytes]:
        """The same in pieces. `pace` is called after each short piece of work."""
        with self._lock:
            parts = list(self._models.parts(self._server.models(), pace))
            for text in self._others():
                parts.append(text.encode("utf-8", "surrogateescape"))
                pace()
            custom = self._server.custom_metrics.texts(pace)
            return [*parts, *(text.encode("utf-8", "surrogateescape") for text in custom)]

    def _others(self) -> Iterator[str]:
        server = self._server
        yield from server_families.state_family(server.model_states())
        yield from server_families.event_families(server.model_events())
        yield server_families.memory_family(self._model_memory())
        if server.response_cache is not None:
            yield from server_families.cache_families(server.response_cache)
        yield from server_families.pool_families(server.memory_pool)
        yield from server_families.server_families(server.metadata().version, server.ready())
        cpu = None if self._cpu is None else self._cpu.read()
        if cpu is not None:
            yield from machine_families.cpu_families(cpu)
        if self._gpu is not None:
            yield from machine_families.gpu_families(self._gpu.read())
        process = self._process.read()
        if process is not None:
            yield from machine_families.process_families(process)

    def _model_memory(self) -> Mapping[tuple[str, str], int]:
        """Asking the processes of hundreds of models takes a while."""
        now = time.monotonic()
        if now >= self._memory_due_s:
            self._memory = self._server.model_memory()
            self._memory_due_s = now + self._interval_s
        return self._memory
