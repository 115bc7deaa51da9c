"""The Markdown of the benchmark of scheduling: figures, ratios within a round, and what was counted in process."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.plan import Protocol
from benchmarks.report import environment_lines, figure, table
from benchmarks.samples import spread
from benchmarks.scheduling.in_process import BatcherCost, LiveSequences
from benchmarks.scheduling.plan import COMPARISONS, Comparison
from benchmarks.scheduling.served import Sample

_HEAD = ("server", "model", "protocol", "clients", "runs", "requests/s", "p50 us", "p99 us", "CPU us")
_TARGET_HEAD = (
    "subject", "of", "over", "protocol", "clients", "measure", "target", "median", "lowest to highest", "runs", "met",
)  # fmt: skip


def render(
    samples: Sequence[Sample],
    batcher: Sequence[BatcherCost],
    live: Sequence[LiveSequences],
    environment: Mapping[str, object],
    failures: Sequence[str] = (),
) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = ["# Scheduling", environment_lines(environment)]
    if samples:
        parts += ["## Measured", table(_HEAD, _figures(samples)), "Medians over the rounds."]
        parts += ["## Targets", table(_TARGET_HEAD, _targets(samples)), "Ratios are of one round's figures."]
    if batcher:
        parts += ["## The batcher by itself", _batcher_lines(batcher)]
    if live:
        parts += ["## Live sequences", "\n".join(map(_live_line, live))]
    parts += [f"Failed: {failure}" for failure in failures]
    return "\n\n".join(parts) + "\n"


def ratios(samples: Sequence[Sample], comparison: Comparison, protocol: Protocol, clients: int) -> list[float]:
    """Ours over theirs, one of each round that has both."""

    def by_round(side: str, model: str) -> dict[int, float]:
        return {
            one.round: one.p50_us if comparison.measure == "p50" else one.throughput
            for one in samples
            if (one.side, one.model, one.protocol, one.clients) == (side, model, protocol, clients)
        }

    ours = by_round(comparison.ours.side, comparison.ours.model)
    theirs = by_round(comparison.theirs.side, comparison.theirs.model)
    return [value / theirs[number] for number, value in ours.items() if theirs.get(number)]


def _figures(samples: Sequence[Sample]) -> list[list[str]]:
    rows = []
    for cell in dict.fromkeys((one.side, one.model, one.protocol, one.clients) for one in samples):
        found = [one for one in samples if (one.side, one.model, one.protocol, one.clients) == cell]
        measures: tuple[Callable[[Sample], float], ...] = (
            lambda one: one.throughput,
            lambda one: one.p50_us,
            lambda one: one.p99_us,
            lambda one: one.cpu_us,
        )
        figures = [figure(spread(of(one) for one in found).median) for of in measures]  # type: ignore[union-attr]
        rows.append([*map(str, cell), str(len(found)), *figures])
    return rows


def _targets(samples: Sequence[Sample]) -> list[list[str]]:
    rows = []
    for one in COMPARISONS:
        for protocol in one.protocols:
            for clients in one.clients:
                found = spread(ratios(samples, one, protocol, clients))
                if found is not None:
                    rows.append(
                        [
                            one.subject,
                            f"{one.ours.side} {one.ours.model}",
                            f"{one.theirs.side} {one.theirs.model}",
                            protocol,
                            str(clients),
                            one.measure,
                            one.words,
                            f"{found.median:.2f}",
                            f"{found.low:.2f} to {found.high:.2f}",
                            str(found.runs),
                            "yes" if one.met_by(found.median) else "NO",
                        ]
                    )
    return rows


def _batcher_lines(batcher: Sequence[BatcherCost]) -> str:
    own = spread(one.own_us for one in batcher)
    assert own is not None, "it is called with figures. This is a bug"
    whole = median(one.cpu_us for one in batcher)
    wall = median(one.wall_us for one in batcher)
    size = median(one.mean_batch for one in batcher)
    return (
        f"A null backend, in process, 8 threads: {own.median:.1f} us of processor time for each request (lowest "
        f"{own.low:.1f}, highest {own.high:.1f}, {own.runs} runs; aim: below 15), of {whole:.1f} us with the "
        f"making of the request; {wall:.1f} us of the clock; {size:.1f} requests in a batch."
    )


def _live_line(one: LiveSequences) -> str:
    return (
        f"{one.count:,} live sequences: {one.held_bytes:,.0f} bytes held for each, {one.kept_bytes:,.0f} when they had "
        f"ended; {one.rate:,.0f} requests/s; {one.wrong} wrong answers."
    )
