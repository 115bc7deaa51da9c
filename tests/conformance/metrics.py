"""The metrics page, read as Prometheus reads it."""

import time

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.process import HOST, ServerProcess
from tests.conformance.wire import Exchange

PORT_S = 20.0  # that the real server's metrics port may take longer than the others


def page(server: ServerProcess) -> Exchange:
    deadline = time.monotonic() + PORT_S
    while True:
        try:
            return Exchange.ask(HOST, server.ports["metrics"], "GET", "/metrics")
        except ConnectionRefusedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def families(server: ServerProcess) -> dict[str, Metric]:
    """The page's families by name."""
    return {family.name: family for family in text_string_to_metric_families(page(server).body.decode())}


def sample(server: ServerProcess, family: str, **labels: str) -> float:
    """The one sample of a family that has these labels."""
    found = [one.value for one in families(server)[family].samples if labels.items() <= one.labels.items()]
    assert len(found) == 1, f"{len(found)} samples of {family} have {labels}"
    return found[0]


def pending_requests(server: ServerProcess, model: str) -> int:
    return int(sample(server, "nv_inference_pending_request_count", model=model))
