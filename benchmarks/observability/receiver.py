"""A receiver of OpenTelemetry traces, in a process of its own: it takes what is sent, counts it, and throws it away.

python -m benchmarks.observability.receiver PORT

POST /v1/traces takes OTLP, in protobuf or JSON; GET /counts says how much has come.
"""

import contextlib
import gzip
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lifecycle.client import fields
from benchmarks.servers import ServerError, refuse_taken_ports

READY_SECONDS = 20.0
RESOURCE_SPANS, SCOPE_SPANS, SPANS = 1, 2, 2
"""The fields' numbers, from outside in, in OpenTelemetry's published protocol."""


@dataclass(frozen=True)
class Received:
    """Since the receiver's start."""

    posts: int
    spans: int

    def since(self, earlier: "Received") -> "Received":
        return Received(self.posts - earlier.posts, self.spans - earlier.spans)


def spans_in(body: bytes) -> int:
    """Of one export request, in whichever of the two forms it is. Raises ValueError for anything else."""
    if body[:1] == b"{":
        return body.count(b'"spanId"')
    return sum(
        number == SPANS
        for outer, resource in fields(body)
        if outer == RESOURCE_SPANS
        for inner, scope in fields(resource)
        if inner == SCOPE_SPANS
        for number, _ in fields(scope)
    )


class _Kept:
    """Bodies are only counted when somebody asks: counting them at once would take the server's processor time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._posts = self._spans = 0

    def take(self, body: bytes) -> None:
        with self._lock:
            self._waiting.append(body)

    def counts(self) -> Received:
        with self._lock:
            self._posts += len(self._waiting)
            self._spans += sum(map(spans_in, self._waiting))
            self._waiting.clear()
            return Received(self._posts, self._spans)


class Receiver(http.server.ThreadingHTTPServer):
    """On this machine alone."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Exchange)
        self.kept = _Kept()


class _Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.kept.take(body)
        content_type = self.headers.get("Content-Type", "")
        self._answer(content_type, b"{}" if "json" in content_type else b"")

    def do_GET(self) -> None:
        counts = self.server.kept.counts()
        self._answer("application/json", json.dumps({"posts": counts.posts, "spans": counts.spans}).encode())

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written: it would fill a terminal."""


@dataclass(frozen=True)
class RunningReceiver:
    """One that was started."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def counts(self) -> Received:
        """Raises OSError where it does not answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=60) as answer:
            found = json.load(answer)
        return Received(found["posts"], found["spans"])


@contextlib.contextmanager
def receiving(port: int, log: Path) -> Iterator[RunningReceiver]:
    """Until the block ends. Raises ServerError where it cannot listen."""
    refuse_taken_ports(port, port)
    command = [sys.executable, "-m", "benchmarks.observability.receiver", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=Path(__file__).parents[2]
        )
    running = RunningReceiver(process.pid, port)
    try:
        _wait_until_ready(process, running, log)
        yield running
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", running: RunningReceiver, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        if process.poll() is not None:
            end = log.read_text(errors="replace").strip()[-500:]
            raise ServerError(f"the receiver of traces ended with status {process.returncode}: {end}")
        try:
            running.counts()
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise ServerError(f"the receiver of traces does not answer on port {running.port}: {error}") from error
            time.sleep(0.05)
        else:
            return


def main(arguments: Sequence[str]) -> int:
    with Receiver(int(arguments[0])) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
