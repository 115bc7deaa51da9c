"""Takes one sample: drives one model on one server, and reads what the server says and uses meanwhile."""

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bare_loop import mixture_limit, session_seconds, sizes_that_matter
from benchmarks.cpu_time import CpuSeconds, machine_seconds
from benchmarks.load import LoadError, LoadGenerator
from benchmarks.plan import Case, Protocol
from benchmarks.samples import Sample
from benchmarks.servers import RunningServer
from benchmarks.statistics_document import read_counts, read_parameters

WARM_UP_SECONDS = 1.5


class Bench:
    """The running servers and the load generator; one measurement lasts `seconds` times its case's stretch."""

    def __init__(
        self,
        servers: Mapping[Any, RunningServer],
        load: LoadGenerator,
        onnx_files: Path,
        seconds: float,
        bare_loop: bool,
    ) -> None:
        """`servers`: one for each side."""
        self._servers = servers
        self._load = load
        self._onnx_files = onnx_files
        self._seconds = seconds
        self._bare_loop = bare_loop
        self._warm: set[tuple[str, str, str]] = set()

    def sample(self, round_number: int, case: Case, protocol: Protocol, concurrency: int) -> Sample:
        """Raises LoadError when a request failed: refusals are quick, and would pass for speed."""
        server = self._server(case)
        port = server.port(protocol)
        if (case.side, case.model, protocol) not in self._warm:
            self._warm_up(case, protocol, port)
            self._warm.add((case.side, case.model, protocol))

        before = read_counts(server.http_port, case.model)
        used_before, began = self._cpu_seconds(server), time.monotonic()
        reading = self._load.drive(case, protocol, port, concurrency, self._seconds * case.stretch)
        elapsed = time.monotonic() - began
        used = self._cpu_seconds(server).since(used_before)
        counts = read_counts(server.http_port, case.model).since(before)

        if counts.failed > self._load.cut_off(protocol, concurrency) or not counts.succeeded:
            raise LoadError(
                f"{case.side} answered {counts.succeeded} requests for {case.model} over {protocol} and failed "
                f"{counts.failed}; see the server's log"
            )
        used_before, began_limit = self._cpu_seconds(server), time.monotonic()
        limit_seconds = self._limit_seconds(server, case, dict(counts.executions))
        foreign_to_limit = self._cpu_seconds(server).since(used_before).foreign / (time.monotonic() - began_limit)
        mixture = {size: counts.executions[size] for size in limit_seconds}
        return Sample(
            round=round_number,
            side=case.side,
            model=case.model,
            protocol=protocol,
            concurrency=concurrency,
            throughput=reading.throughput,
            p50_us=reading.p50_us,
            p99_us=reading.p99_us,
            # Both sides of this division span the generator's whole run, its windows as well as their seams.
            cpu_us=used.server / counts.succeeded * 1e6,
            requests=counts.succeeded,
            idle_server_cores=used.idle_servers / elapsed,
            foreign_cores=max(used.foreign / elapsed, foreign_to_limit if limit_seconds else 0.0, 0.0),
            executions=dict(counts.executions),
            limit=mixture_limit(mixture, limit_seconds) if limit_seconds else None,
            limit_seconds=limit_seconds,
        )

    def _server(self, case: Case) -> RunningServer:
        return self._servers[case.side]

    def _warm_up(self, case: Case, protocol: Protocol, port: int) -> None:
        # One client: many clients of a slow model may all still be waiting when so short a time is up.
        self._load.drive(case, protocol, port, 1, WARM_UP_SECONDS)

    def _cpu_seconds(self, server: RunningServer) -> CpuSeconds:
        idle = sum(other.cpu_seconds() for other in self._servers.values() if other is not server)
        generator = resource.getrusage(resource.RUSAGE_CHILDREN)
        return CpuSeconds(server.cpu_seconds(), idle, generator.ru_utime + generator.ru_stime, machine_seconds())

    def _limit_seconds(self, server: RunningServer, case: Case, executions: dict[int, int]) -> dict[int, float]:
        """Straight after the server's own turn, so that both see the same machine."""
        sizes = sorted(sizes_that_matter(executions))
        if case.side == "rival" or not sizes or not self._bare_loop:
            return {}
        file = self._onnx_files / f"{case.model}.onnx"
        parameters = read_parameters(server.http_port, case.model)
        return session_seconds(file, sizes, parameters, case.vocabulary, self._seconds * case.stretch / 3)
