"""One measurement, and one round's measurements side by side: the raw material of the report."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.plan import CASES, Measure, Protocol, Side, Target


@dataclass(frozen=True)
class Sample:
    """One drive of one model. Latencies in us; `cpu_us` is the server's processor time per request.

    `executions` maps batch size to how often it was executed. `limit` is what the bare loop would make at that mixture,
    in rows per second, from `limit_seconds`, batch size to seconds per run; both are empty for the rival.
    `idle_server_cores` is how many cores the server that was not being measured used meanwhile, `foreign_cores` how
    many went to programs that have no part in the benchmark, or to another virtual machine (then or during the bare
    loop, whichever was more).
    """

    round: int
    side: Side
    model: str
    protocol: Protocol
    concurrency: int
    throughput: float
    p50_us: float
    p99_us: float
    cpu_us: float
    requests: int
    idle_server_cores: float
    foreign_cores: float
    executions: dict[int, int] = field(default_factory=dict)
    limit: float | None = None
    limit_seconds: dict[int, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, with the least and the greatest value and how many there were."""

    median: float
    low: float
    high: float
    runs: int


def spread(values: Iterable[float]) -> Spread | None:
    """None when there are no values: a part of the plan that was not measured."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found), len(found)) if found else None


def select(samples: Iterable[Sample], side: Side, model: str, protocol: Protocol, concurrency: int) -> list[Sample]:
    """The samples of one cell of the plan, one a round."""
    wanted = (side, model, protocol, concurrency)
    return [sample for sample in samples if (sample.side, sample.model, sample.protocol, sample.concurrency) == wanted]


def ratios_to_yardstick(
    samples: Sequence[Sample], model: str, protocol: Protocol, concurrency: int, of: Callable[[Sample], float]
) -> list[float]:
    """`of` a sample of Atoll's over `of` the same round's sample of the yardstick, one value a round.

    The division is made within a round, where both saw the same machine; the median comes afterwards.
    """
    yardstick = next(case.yardstick for case in CASES if case.model == model)
    if yardstick is None:
        return []
    rivals = {sample.round: of(sample) for sample in select(samples, "rival", yardstick, protocol, concurrency)}
    ours = select(samples, "atoll", model, protocol, concurrency)
    return [of(sample) / rivals[sample.round] for sample in ours if sample.round in rivals]


def measured(samples: Sequence[Sample], target: Target) -> Spread | None:
    """What a target bounds, over the rounds; None when it was not measured in this run."""
    ours = select(samples, "atoll", target.model, target.protocol, target.concurrency)
    cell = target.model, target.protocol, target.concurrency
    values: dict[Measure, Callable[[], list[float]]] = {
        "throughput / yardstick": lambda: ratios_to_yardstick(samples, *cell, lambda sample: sample.throughput),
        "p50 / yardstick": lambda: ratios_to_yardstick(samples, *cell, lambda sample: sample.p50_us),
        "throughput / limit": lambda: [sample.throughput / sample.limit for sample in ours if sample.limit],
        "p99 / p50": lambda: [sample.p99_us / sample.p50_us for sample in ours],
        "server CPU us / request": lambda: [sample.cpu_us for sample in ours],
    }
    return spread(values[target.measure]())
