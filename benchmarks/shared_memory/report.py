"""The Markdown of the benchmark of shared memory: figures, and ratios within a round."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.plan import Protocol
from benchmarks.python.measure import Sample
from benchmarks.python.plan import TITLES, ServerName
from benchmarks.report import FOREIGN_CORES, disturbances, environment_lines, figure, table
from benchmarks.samples import Spread, spread
from benchmarks.shared_memory.plan import (
    IN_REQUESTS,
    IN_REQUESTS_OVER_RIVAL,
    LOADS,
    SHARED,
    SHARED_OVER_IN_REQUESTS,
    WAYS,
)

Cell = tuple[str, Protocol, int]
"""A size, and how it is asked for."""

SERVERS: tuple[ServerName, ...] = ("process", "rival")
_TRAVELS = {load.title: load for load in LOADS}
_HEAD = ("tensor", "protocol", "clients", "server", "tensors travel", "runs", "requests/s", "p50 us", "CPU us")
_RATIO_HEAD = (
    "tensor",
    "protocol",
    "clients",
    "ratio",
    "throughput",
    "lowest to highest",
    "p50",
    "CPU",
    "runs",
    "target",
)
_READING = (
    "Medians over the rounds; ratios are made within a round. CPU: processor time per request, of the server and the "
    "processes of its models. The client has put its tensors into shared memory once, before it asks."
)


def render(samples: Sequence[Sample], environment: Mapping[str, object], failures: Sequence[str] = ()) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = [
        "# Shared memory",
        environment_lines(environment),
        "## Measured",
        table(_HEAD, list(_figures(samples))),
        _READING,
        "## Ratios",
        table(_RATIO_HEAD, list(_ratios(samples))),
    ]
    parts += disturbances("programs outside the benchmark", [one.foreign_cores for one in samples], FOREIGN_CORES)
    return "\n\n".join([*parts, *(f"Failed: {failure}" for failure in failures)]) + "\n"


def ratio(
    samples: Iterable[Sample],
    cell: Cell,
    over: tuple[ServerName, str],
    under: tuple[ServerName, str],
    of: Callable[[Sample], float],
) -> Spread | None:
    """`of` the one server's sample of one way over the other's, round by round; None where there is no such pair."""
    measured = list(samples)
    divisors = {one.round: of(one) for one in _of(measured, cell, *under)}
    return spread(of(one) / divisors[one.round] for one in _of(measured, cell, *over) if divisors.get(one.round))


def _of(samples: Sequence[Sample], cell: Cell, server: ServerName, way: str) -> list[Sample]:
    return [
        one
        for one in samples
        if one.server == server
        and (_TRAVELS[one.load].size, one.protocol, one.clients) == cell
        and _TRAVELS[one.load].way == way
    ]


def _cells(samples: Sequence[Sample]) -> list[Cell]:
    return list(dict.fromkeys((_TRAVELS[one.load].size, one.protocol, one.clients) for one in samples))


def _figures(samples: Sequence[Sample]) -> Iterable[list[str]]:
    for cell in _cells(samples):
        for server in SERVERS:
            for way in WAYS:
                found = _of(samples, cell, server, way)
                if found:
                    shown = [_median(found, of) for of in (_throughput, _p50, _cpu)]
                    yield [*map(str, cell), TITLES[server], way, str(len(found)), *shown]


def _ratios(samples: Sequence[Sample]) -> Iterable[list[str]]:
    for cell in _cells(samples):
        for words, over, under, bound in (
            ("Atoll, shared over in requests", ("process", SHARED), ("process", IN_REQUESTS), SHARED_OVER_IN_REQUESTS),
            ("real Triton, shared over in requests", ("rival", SHARED), ("rival", IN_REQUESTS), None),
            (
                "in requests, Atoll over real Triton",
                ("process", IN_REQUESTS),
                ("rival", IN_REQUESTS),
                IN_REQUESTS_OVER_RIVAL,
            ),
            ("shared, Atoll over real Triton", ("process", SHARED), ("rival", SHARED), None),
        ):
            found = [ratio(samples, cell, over, under, of) for of in (_throughput, _p50, _cpu)]  # type: ignore[arg-type]
            if found[0] is not None:
                span = f"{found[0].low:.2f} to {found[0].high:.2f}"
                medians = ["-" if one is None else f"{one.median:.2f}" for one in found]
                yield [
                    *map(str, cell),
                    words,
                    medians[0],
                    span,
                    *medians[1:],
                    str(found[0].runs),
                    _judged(found[0], bound),
                ]


def _judged(found: Spread, bound: float | None) -> str:
    if bound is None:
        return ""
    return f">= {bound:g}: {'met' if found.median >= bound else 'NOT met'}"


def _median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> str:
    found = spread(of(one) for one in samples)
    return "-" if found is None else figure(found.median)


def _throughput(sample: Sample) -> float:
    return sample.throughput


def _p50(sample: Sample) -> float:
    return sample.p50_us


def _cpu(sample: Sample) -> float:
    return sample.cpu_us
