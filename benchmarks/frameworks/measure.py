"""Takes samples: one model on its framework's server with the framework's own loop after it, and two models at once."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bare_loop import sizes_that_matter
from benchmarks.frameworks.own_loop import seconds_per_run
from benchmarks.frameworks.plan import Pair, Subject
from benchmarks.frameworks.repository import model_file
from benchmarks.load import LoadError, LoadGenerator, PerfAnalyzer
from benchmarks.measure import WARM_UP_SECONDS, Bench
from benchmarks.plan import Case, Protocol
from benchmarks.servers import RunningServer

PROTOCOL: Protocol = "grpc"


class FrameworkBench(Bench):
    """The servers by framework; the limit is the framework's own loop."""

    def __init__(
        self,
        servers: Mapping[str, RunningServer],
        load: LoadGenerator,
        subjects: Sequence[Subject],
        clients: Sequence[int],
        seconds: float,
        own_loop: bool,
    ) -> None:
        super().__init__(servers, load, Path(), seconds, own_loop)
        self._clients = clients
        self._subjects = {one.model: one for one in subjects}

    def leave_out_ended(self) -> None:
        """Servers that have ended are neither asked nor counted any more."""
        self._servers = {name: one for name, one in self._servers.items() if one.process.poll() is None}

    def has_server(self, one: Subject) -> bool:
        """Whether its framework's server still runs, as far as is known."""
        return one.format.framework in self._servers

    def _server(self, case: Case) -> RunningServer:
        return self._servers[self._subjects[case.model].format.framework]

    def _warm_up(self, case: Case, protocol: Protocol, port: int) -> None:
        for clients in sorted({1, *self._clients}):
            warm_up(self._load, case, port, clients)

    def _limit_seconds(self, server: RunningServer, case: Case, executions: dict[int, int]) -> dict[int, float]:
        """Straight after the server's own turn, so that both see the same machine."""
        sizes = sorted(sizes_that_matter(executions))
        if not sizes or not self._bare_loop:
            return {}
        subject = self._subjects[case.model]
        return seconds_per_run(subject, model_file(subject), sizes, self._seconds * case.stretch / 3)


def warm_up(load: LoadGenerator, case: Case, port: int, clients: int) -> None:
    """Some frameworks compile, or choose their kernels, when a batch of a new size first comes."""
    with contextlib.suppress(LoadError):  # nothing was answered within so short a window: no matter
        load.drive(case, PROTOCOL, port, clients, WARM_UP_SECONDS * case.stretch)


@dataclass(frozen=True, slots=True)
class PairSample:
    """Rows per second of two models: of each by itself, and of each while the other one was asked too.

    The clients of a model are as many in both cases.
    """

    round: int
    first: str
    second: str
    clients: int
    first_alone: float
    second_alone: float
    first_beside: float
    second_beside: float

    @property
    def together(self) -> float:
        """How much faster both are done at once than one after the other: 1 is neither gain nor loss.

        In a second both at once do `first_beside` and `second_beside` rows; one after the other these take
        `first_beside / first_alone` and `second_beside / second_alone` seconds.
        """
        return self.first_beside / self.first_alone + self.second_beside / self.second_alone

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"together": self.together}


def pair_sample(
    round_number: int, pair: Pair, server: RunningServer, scratch: Path, clients: int, seconds: float
) -> PairSample:
    """Each alone, both at once, and each alone again. Raises LoadError."""
    subjects = (pair.first, pair.second)
    loads = []
    for number in range(len(subjects)):
        folder = scratch / f"generator_{number}"
        folder.mkdir(exist_ok=True)
        loads.append(PerfAnalyzer(folder))

    def rate(number: int) -> float:
        # As long as the other one's, whatever their stretch.
        length = seconds * max(one.net.stretch for one in subjects)
        return loads[number].drive(subjects[number].case, PROTOCOL, server.grpc_port, clients, length).throughput

    for one, load in zip(subjects, loads, strict=True):
        warm_up(load, one.case, server.grpc_port, clients)
    before = [rate(0), rate(1)]
    with ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(rate, (0, 1)))
    after = [rate(0), rate(1)]
    alone = [statistics.mean(both) for both in zip(before, after, strict=True)]
    return PairSample(round_number, pair.first.model, pair.second.model, clients, *alone, *beside)
