"""The metrics page's part about GPUs, of two that there are not: what a machine without any can show of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.conformance.process import HOST
from tests.unit.devices.gpu_readings import GPU

from atoll.observability.metrics.machine_families import gpu_families

READINGS = [replace(GPU, number=number, uuid=f"GPU-{number}") for number in (0, 1)]


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = "".join(gpu_families(READINGS)).encode()
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
