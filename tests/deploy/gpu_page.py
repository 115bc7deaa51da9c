"""The metrics page's part about GPUs, of two that there are not: what a machine without any can show of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.conformance.process import HOST

from atoll.devices.nvml import GpuReading
from atoll.observability.metrics.machine_families import gpu_families

GIB = 1024**3


def readings() -> list[GpuReading]:
    return [
        GpuReading(
            number=number,
            uuid=f"GPU-{number}",
            name="none",
            total_bytes=80 * GIB,
            used_bytes=(20 + number) * GIB,
            utilization=0.5,
            power_watts=200.0,
            power_limit_watts=400.0,
            energy_joules=1000.0,
        )
        for number in (0, 1)
    ]


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = "".join(gpu_families(readings())).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def served_gpus() -> Iterator[str]:
    """Host and port of the page."""
    with ThreadingHTTPServer((HOST, 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
