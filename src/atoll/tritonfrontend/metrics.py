"""The metrics of an in-process server, for Prometheus."""

from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.tritonfrontend.checking import check
from atoll.tritonfrontend.service import Service
from atoll.tritonserver.options import metrics_texts


@dataclass
class MetricsOptions:
    """`thread_count` is accepted; one thread is enough for a page. Port 0 lets the system choose. Raises
    InvalidArgumentError.
    """

    address: str = "0.0.0.0"
    port: int = 8002
    thread_count: int = 1

    def __post_init__(self) -> None:
        check(self, port=(0, 65535), thread_count=(1, 256))

    def listen_options(self) -> dict[str, Any]:
        """See `ServiceOptions`."""
        return {"allow_metrics": True, "metrics_address": self.address, "metrics_port": self.port}


class Metrics(Service):
    """GET /metrics. What is on it is said by the server's options cpu_metrics, gpu_metrics, metrics_interval and
    metrics_configuration.
    """

    Options: ClassVar[Any] = MetricsOptions
    name = "Metrics"

    def _listen_options(self) -> dict[str, Any]:
        options = self.server.options
        return {
            **super()._listen_options(),
            "allow_cpu_metrics": options.cpu_metrics,
            "allow_gpu_metrics": options.gpu_metrics,
            "metrics_interval_ms": float(options.metrics_interval),
            "metrics_config": metrics_texts(options),
        }
