"""Takes one sample: asks one model of one server for a while, and reads what the server says and uses meanwhile."""

import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cpu_time import CpuSeconds, machine_seconds
from benchmarks.load import LoadError, LoadGenerator
from benchmarks.plan import Protocol
from benchmarks.python.plan import Load, ServerName
from benchmarks.servers import RunningServer
from benchmarks.statistics_document import read_counts

WARM_UP_SECONDS = 1.5


@dataclass(frozen=True)
class Sample:
    """Latencies in us; `cpu_us` is processor time per request, of the server and all of its processes.

    `idle_cores` is what the servers that were not measured used meanwhile, `foreign_cores` what other programs did.
    """

    round: int
    server: ServerName
    load: str
    protocol: Protocol
    clients: int
    throughput: float
    p50_us: float
    p99_us: float
    cpu_us: float
    requests: int
    idle_cores: float
    foreign_cores: float

    @property
    def cell(self) -> tuple[str, Protocol, int]:
        return self.load, self.protocol, self.clients

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """The running servers and the load generator; a measurement lasts `seconds` times its load's stretch."""

    def __init__(self, servers: Mapping[ServerName, RunningServer], generator: LoadGenerator, seconds: float) -> None:
        self._servers = servers
        self._generator = generator
        self._seconds = seconds
        self._warm: set[tuple[ServerName, str, Protocol]] = set()

    def sample(self, round_number: int, name: ServerName, load: Load, protocol: Protocol, clients: int) -> Sample:
        """Raises LoadError when a request failed: refusals are quick, and would pass for speed."""
        server, case = self._servers[name], load.case()
        port = server.port(protocol)
        if (name, load.model, protocol) not in self._warm:
            self._generator.drive(case, protocol, port, 1, WARM_UP_SECONDS)
            self._warm.add((name, load.model, protocol))
        before = read_counts(server.http_port, load.model)
        used_before, began = self._cpu_seconds(server), time.monotonic()
        reading = self._generator.drive(case, protocol, port, clients, self._seconds * load.stretch)
        elapsed = time.monotonic() - began
        used = self._cpu_seconds(server).since(used_before)
        counts = read_counts(server.http_port, load.model).since(before)
        if counts.failed > self._generator.cut_off(protocol, clients) or not counts.succeeded:
            raise LoadError(
                f"{name}: {counts.succeeded} requests for {load.model} over {protocol} were answered and "
                f"{counts.failed} failed; see the server's log"
            )
        return Sample(
            round=round_number,
            server=name,
            load=load.title,
            protocol=protocol,
            clients=clients,
            throughput=reading.throughput,
            p50_us=reading.p50_us,
            p99_us=reading.p99_us,
            cpu_us=used.server / counts.succeeded * 1e6,
            requests=counts.succeeded,
            idle_cores=used.idle_servers / elapsed,
            foreign_cores=max(used.foreign / elapsed, 0.0),
        )

    def _cpu_seconds(self, server: RunningServer) -> CpuSeconds:
        idle = sum(other.cpu_seconds() for other in self._servers.values() if other is not server)
        generator = resource.getrusage(resource.RUSAGE_CHILDREN)
        return CpuSeconds(server.cpu_seconds(), idle, generator.ru_utime + generator.ru_stime, machine_seconds())
