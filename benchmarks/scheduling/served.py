"""Takes one sample over the wire: asks one model of one server for a while, and counts the processor time."""

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load import LoadError, LoadGenerator
from benchmarks.plan import Case, Protocol, Side
from benchmarks.servers import RunningServer
from benchmarks.statistics_document import read_counts

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Sample:
    """Latencies in us; `cpu_us` is processor time per request, of the server and all of its processes."""

    round: int
    side: Side
    model: str
    protocol: Protocol
    clients: int
    throughput: float
    p50_us: float
    p99_us: float
    cpu_us: float
    requests: int

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """The running servers and the load generator; one measurement takes about `seconds`."""

    def __init__(self, servers: dict[Side, RunningServer], generator: LoadGenerator, seconds: float) -> None:
        self._servers = servers
        self._generator = generator
        self._seconds = seconds
        self._warm: set[tuple[Side, str, Protocol]] = set()

    def sample(self, round_number: int, case: Case, protocol: Protocol, clients: int) -> Sample:
        """Raises LoadError when a request failed: refusals are quick, and would pass for speed."""
        server = self._servers[case.side]
        port = server.port(protocol)
        if (case.side, case.model, protocol) not in self._warm:
            self._generator.drive(case, protocol, port, 1, WARM_UP_SECONDS)
            self._warm.add((case.side, case.model, protocol))
        before, used = read_counts(server.http_port, case.model), server.cpu_seconds()
        reading = self._generator.drive(case, protocol, port, clients, self._seconds)
        used = server.cpu_seconds() - used
        counts = read_counts(server.http_port, case.model).since(before)
        if counts.failed > self._generator.cut_off(protocol, clients) or not counts.succeeded:
            raise LoadError(
                f"{case.side}: {counts.succeeded} requests for {case.model} over {protocol} were answered and "
                f"{counts.failed} failed; see the server's log"
            )
        return Sample(
            round=round_number,
            side=case.side,
            model=case.model,
            protocol=protocol,
            clients=clients,
            throughput=reading.throughput,
            p50_us=reading.p50_us,
            p99_us=reading.p99_us,
            cpu_us=used / counts.succeeded * 1e6,
            requests=counts.succeeded,
        )
