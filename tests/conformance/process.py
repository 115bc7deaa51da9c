"""Server processes for the tests: start, find the ports, wait until ready, stop; Atoll's and the real server's."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.conformance.wire import Exchange

ROOT = Path(__file__).parents[2]
REAL_TRITON = ROOT / "benchmarks" / "real-triton"
HOST = "127.0.0.1"
STARTED = re.compile(r"Started (\w+)(?: Service)? at [\d.]+:(\d+)")
REAL_ENDS_S = 15.0  # killed at once, the real server leaves shared memory and folders behind
SERVICES = {"HTTPService": "http", "GRPCInferenceService": "grpc", "Metrics": "metrics"}


@dataclass
class ServerProcess:
    """A running server and its ports. A context manager: leaving it stops the process."""

    process: subprocess.Popen[bytes]
    log: Path
    ports: dict[str, int] = field(default_factory=dict)
    goes_s: float = 0.0  # that it gets to end by itself

    @property
    def http(self) -> str:
        return f"{HOST}:{self.ports['http']}"

    @property
    def grpc(self) -> str:
        return f"{HOST}:{self.ports['grpc']}"

    @property
    def metrics(self) -> str:
        return f"{HOST}:{self.ports['metrics']}"

    def exchange(self, method: str, path: str, **parts: object) -> "Exchange":
        """One HTTP question and its answer, on a connection of its own."""
        return Exchange.ask(HOST, self.ports["http"], method, path, **parts)  # type: ignore[arg-type]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit status."""
        return self.process.wait(timeout_s)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = 30.0) -> None:
        wait_until(lambda: text in self.log_text(), f"{text!r} in the log", self, timeout_s)

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None and self.goes_s:
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(self.goes_s)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


def start_atoll(
    repository: Path,
    log: Path,
    *arguments: str,
    wait_ready: bool = True,
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """`atoll serve` on ports of the system's choice, on the loopback interface."""
    command = [
        *(sys.executable, "-m", "atoll", "serve", f"--model-repository={repository}"),
        *("--http-port=0", "--grpc-port=0", "--metrics-port=0"),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
        *arguments,
    ]
    server = _start(command, log, environment)
    wait_until(lambda: _bound(server) == set(SERVICES.values()), "three bound ports", server, 60.0)
    if wait_ready:
        _wait_ready(server)
    return server


def start_real_triton(
    repository: Path, log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> ServerProcess:
    """The real server, by the project's own script. To be called when it is known to be installed."""
    ports = dict(zip(SERVICES.values(), free_ports(len(SERVICES)), strict=True))
    command = [
        *(str(REAL_TRITON), f"--model-repository={repository}"),
        *(f"--{name}-port={port}" for name, port in ports.items()),
        *arguments,
    ]
    server = _start(command, log, environment)
    server.ports = ports
    server.goes_s = REAL_ENDS_S
    _wait_ready(server)
    return server


def install_real_triton(timeout_s: float = 600.0) -> str:
    """Unpack the real server if it is not there yet; returns why that cannot be done, or an empty string."""
    command = [str(REAL_TRITON), "--unpack-only"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"installing it took more than {timeout_s:.0f} s"
    return "" if result.returncode == 0 else result.stderr.strip()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(
    reached: Callable[[], bool], what: str, server: ServerProcess | None = None, timeout_s: float = 30.0
) -> None:
    """Poll; fails with the server's log when it is not reached, or the server has ended."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        ended = server is not None and server.process.poll() is not None
        if ended or time.monotonic() > deadline:
            log = server.log_text()[-4000:] if server else ""
            raise AssertionError(f"no {what} {'before the server ended' if ended else f'within {timeout_s} s'}:\n{log}")
        time.sleep(0.02)


def _start(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> ServerProcess:
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    return ServerProcess(process, log)


def _bound(server: ServerProcess) -> set[str]:
    for service, port in STARTED.findall(server.log_text()):
        server.ports[SERVICES[service]] = int(port)
    return set(server.ports)


def _wait_ready(server: ServerProcess) -> None:
    def ready() -> bool:
        try:
            return server.exchange("GET", "/v2/health/ready").status in (200, 401, 403)  # or for others to know
        except OSError:
            return False

    wait_until(ready, "readiness", server, 120.0)
