"""Takes one sample of a server under load, while something watches it: what the clients saw, and what it used."""

import contextlib
import resource
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cpu_time import CpuSeconds, tree_seconds
from benchmarks.load import LoadGenerator
from benchmarks.measure import Bench
from benchmarks.observability.asking import Poll, sweeping
from benchmarks.observability.plan import Condition, Part
from benchmarks.plan import Case, Protocol
from benchmarks.samples import Sample, Spread, spread
from benchmarks.servers import RunningServer


@dataclass(frozen=True)
class Observation:
    """A sample under a condition; `baseline`: the condition of the same round that it is compared with, "" for such a
    one. `pages`: how many were asked for meanwhile, which took `page_ms` each, in the median. `left`: what each traced
    request left behind, spans or bytes; None where that is not known.
    """

    part: Part
    subject: str
    condition: str
    baseline: str
    sample: Sample
    pages: int = 0
    page_ms: float = 0.0
    left: float | None = None

    @property
    def cell(self) -> tuple[Part, str, Protocol, int]:
        """What must be the same in two that are compared."""
        return self.part, self.subject, self.sample.protocol, self.sample.concurrency

    def document(self) -> dict[str, Any]:
        return asdict(self)


class ServerBench(Bench):
    """One of the running servers. `beside`: processes of the benchmark's own, whose time is nobody else's."""

    def __init__(
        self,
        name: str,
        servers: Mapping[str, RunningServer],
        load: LoadGenerator,
        seconds: float,
        beside: Sequence[int] = (),
    ) -> None:
        super().__init__(servers, load, Path(), seconds, bare_loop=False)
        self.server = servers[name]
        self._beside = beside

    def _server(self, case: Case) -> RunningServer:
        return self.server

    def _cpu_seconds(self, server: RunningServer) -> CpuSeconds:
        used = super()._cpu_seconds(server)
        own = resource.getrusage(resource.RUSAGE_SELF)  # who asks for pages is a thread here
        beside = own.ru_utime + own.ru_stime + sum(map(tree_seconds, self._beside))
        return replace(used, generator=used.generator + beside)


def observe(
    bench: ServerBench,
    round_number: int,
    condition: Condition,
    case: Case,
    others: Sequence[str],
    subject: str,
    protocol: Protocol,
    clients: int,
) -> Observation:
    """The case under load, with `others` in the same server. Raises LoadError."""
    with contextlib.ExitStack() as stack:
        if condition.all_active:
            stack.enter_context(sweeping(bench.server, others))
        poll = stack.enter_context(Poll(bench.server, condition.page)) if condition.page is not None else None
        sample = bench.sample(round_number, case, protocol, clients)
    found = Observation(condition.part, subject, condition.title, condition.baseline, sample)
    if poll is None:
        return found
    poll.check()
    return replace(found, pages=len(poll.ms), page_ms=statistics.median(poll.ms))


def ratios(found: Sequence[Observation], one: Observation, of: Any) -> Spread | None:
    """`of` the observations like this one over `of` their baseline's in the same round; None for a baseline."""
    return _compared(found, one, lambda measured, base: of(measured) / of(base) if of(base) else None)


def differences(found: Sequence[Observation], one: Observation, of: Any) -> Spread | None:
    """The same, less instead of divided by."""
    return _compared(found, one, lambda measured, base: of(measured) - of(base))


def _compared(found: Sequence[Observation], one: Observation, compare: Any) -> Spread | None:
    base = {
        other.sample.round: other.sample
        for other in found
        if one.baseline and other.cell == one.cell and other.condition == one.baseline
    }
    values = [
        compare(other.sample, base[other.sample.round]) for other in alike(found, one) if other.sample.round in base
    ]
    return spread(value for value in values if value is not None)


def alike(found: Sequence[Observation], one: Observation) -> list[Observation]:
    """Those of all rounds."""
    return [other for other in found if other.cell == one.cell and other.condition == one.condition]
