"""The Markdown of the benchmark of Python models: figures, ratios within a round, and whether the targets were met."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.plan import Protocol
from benchmarks.python.measure import Sample
from benchmarks.python.plan import SERVERS, TITLES, ServerName, targets
from benchmarks.report import FOREIGN_CORES, IDLE_SERVER_CORES, disturbances, environment_lines, figure, table
from benchmarks.samples import Spread, spread

Cell = tuple[str, Protocol, int]

_HEAD = (
    "load", "protocol", "clients", "server", "runs", "requests/s", "p50 us", "p99 us", "CPU us",
    "x", "p50 x", "p99 x", "CPU x",
)  # fmt: skip
_TARGET_HEAD = ("load", "protocol", "clients", "measure", "target", "median", "lowest to highest", "runs", "met")
_READING = (
    "Medians over the rounds. CPU: processor time per request, of the server and the processes of its models. x: over "
    "the real Triton's figure of the same round (throughput, and p50, p99 and CPU likewise). A request of "
    "'100 responses' is answered by a hundred; its latency ends with the last one."
)


def render(samples: Sequence[Sample], environment: Mapping[str, object], failures: Sequence[str] = ()) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = [
        "# Python models",
        environment_lines(environment),
        "## Measured",
        table(_HEAD, _figures(samples)),
        _READING,
    ]
    if rows := _targets(samples):
        parts += ["## Targets", "Atoll, its models in processes, over the real Triton.", table(_TARGET_HEAD, rows)]
    parts += _warnings(samples) + [f"Failed: {failure}" for failure in failures]
    return "\n\n".join(parts) + "\n"


def ratios(samples: Sequence[Sample], server: ServerName, cell: Cell, of: Callable[[Sample], float]) -> Spread | None:
    """`of` the server's sample over `of` the rival's of the same round; None where there is no such pair."""
    rivals = {one.round: of(one) for one in _of_cell(samples, "rival", cell)}
    ours = _of_cell(samples, server, cell)
    return spread(of(one) / rivals[one.round] for one in ours if rivals.get(one.round))


def _figures(samples: Sequence[Sample]) -> list[list[str]]:
    cells = dict.fromkeys(sample.cell for sample in sorted(samples, key=lambda one: one.round))
    found = [(server, cell, _of_cell(samples, server, cell)) for cell in cells for server in SERVERS]
    return [_row(samples, server, cell, measured) for server, cell, measured in found if measured]


def _row(samples: Sequence[Sample], server: ServerName, cell: Cell, found: Sequence[Sample]) -> list[str]:
    measures: tuple[Callable[[Sample], float], ...] = (
        lambda one: one.throughput,
        lambda one: one.p50_us,
        lambda one: one.p99_us,
        lambda one: one.cpu_us,
    )
    figures = [_shown(spread(of(one) for one in found), figure) for of in measures]
    compared = [None if server == "rival" else ratios(samples, server, cell, of) for of in measures]
    shares = [_shown(one, "{:.2f}".format) for one in compared]
    return [cell[0], cell[1], str(cell[2]), TITLES[server], str(len(found)), *figures, *shares]


def _targets(samples: Sequence[Sample]) -> list[list[str]]:
    rows = []
    for target in targets():
        cell = target.load, target.protocol, target.clients
        of = _p50 if target.measure == "p50" else _throughput
        if found := ratios(samples, "process", cell, of):
            span = f"{found.low:.2f} to {found.high:.2f}"
            met = "yes" if target.met_by(found.median) else "NO"
            row = [*map(str, cell), target.measure, target.words, f"{found.median:.2f}", span, str(found.runs), met]
            rows.append(row)
    return rows


def _p50(sample: Sample) -> float:
    return sample.p50_us


def _throughput(sample: Sample) -> float:
    return sample.throughput


def _of_cell(samples: Sequence[Sample], server: ServerName, cell: Cell) -> list[Sample]:
    return [one for one in samples if one.server == server and one.cell == cell]


def _shown(found: Spread | None, show: Callable[[float], str]) -> str:
    return "-" if found is None else show(found.median)


def _warnings(samples: Sequence[Sample]) -> list[str]:
    idle = [one.idle_cores for one in samples]
    return [
        *disturbances("the servers that should have been idle", idle, IDLE_SERVER_CORES),
        *disturbances("programs outside the benchmark", [one.foreign_cores for one in samples], FOREIGN_CORES),
    ]
