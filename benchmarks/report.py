"""The benchmark's Markdown: the figures beside their ratios, then the targets and whether they were met."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.plan import CASES, PROTOCOLS, TARGETS, YARDSTICKS, Case, Protocol, Target
from benchmarks.samples import Sample, Spread, measured, ratios_to_yardstick, select, spread
from benchmarks.statistics_document import Counts

# Above so many cores, the idle server, or programs that have no part in this, disturbed the one being measured.
IDLE_SERVER_CORES = 0.05
FOREIGN_CORES = 0.15


def render(samples: Sequence[Sample], environment: Mapping[str, object], failures: Sequence[str] = ()) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = ["# Atoll beside the real Triton and the bare runtime", environment_lines(environment), "## Measured"]
    parts += [table(_HEAD, _figures(samples)), _READING, "## Targets", table(_TARGET_HEAD, _targets(samples))]
    parts += [f"{len(_unmeasured(samples))} of {len(TARGETS)} targets have no part in what was measured here."]
    parts += _warnings(samples) + [f"Failed: {failure}" for failure in failures]
    return "\n\n".join(parts) + "\n"


_HEAD = (
    "model", "protocol", "clients", "runs", "infer/s", "p50 us", "p99 us", "CPU us", "batch",
    "x yardstick", "p50 x", "p99 x", "CPU x", "limit/s", "of limit",
)  # fmt: skip

_TARGET_HEAD = ("model", "protocol", "clients", "measure", "target", "median", "lowest to highest", "runs", "met")

_READING = (
    "Medians over the rounds. CPU: the server's processor time per request. Batch: mean rows per execution. "
    "x yardstick: throughput over that of the real server's Python identity model (the rows called rival); p50 x, "
    "p99 x and CPU x the same for these, each taken within one round. Limit: rows per second of a bare "
    "`InferenceSession.run` loop at the batch sizes that formed."
)


def environment_lines(environment: Mapping[str, object]) -> str:
    """What a result belongs to, as a Markdown list."""
    return "\n".join(f"- {key}: {value}" for key, value in environment.items())


def _figures(samples: Sequence[Sample]) -> list[list[str]]:
    rows = []
    for protocol in PROTOCOLS:
        for concurrency in sorted({sample.concurrency for sample in samples}):
            for case in (*YARDSTICKS.values(), *CASES):
                rows += _figure_row(samples, case, protocol, concurrency)
    return rows


def _figure_row(samples: Sequence[Sample], case: Case, protocol: Protocol, concurrency: int) -> list[list[str]]:
    cell = select(samples, case.side, case.model, protocol, concurrency)
    if not cell:
        return []

    def median(of: Callable[[Sample], float]) -> float:
        found = spread(of(sample) for sample in cell)
        assert found is not None, "a cell with samples has a median. This is a bug"
        return found.median

    def ratio(of: Callable[[Sample], float]) -> Spread | None:
        if case.side == "rival":
            return None
        return spread(ratios_to_yardstick(samples, case.model, protocol, concurrency, of))

    limit = spread(sample.limit for sample in cell if sample.limit)
    share = spread(sample.throughput / sample.limit for sample in cell if sample.limit)
    batches = [Counts(0, 0, sample.executions).mean_batch for sample in cell]
    name = case.model if case.side == "atoll" else f"rival: {case.model}"
    return [
        [
            name, protocol, str(concurrency), str(len(cell)),
            figure(median(lambda sample: sample.throughput)),
            figure(median(lambda sample: sample.p50_us)),
            figure(median(lambda sample: sample.p99_us)),
            figure(median(lambda sample: sample.cpu_us)),
            _or_dash(spread(batch for batch in batches if batch), figure),
            _or_dash(ratio(lambda sample: sample.throughput), "{:.2f}".format),
            _or_dash(ratio(lambda sample: sample.p50_us), "{:.2f}".format),
            _or_dash(ratio(lambda sample: sample.p99_us), "{:.2f}".format),
            _or_dash(ratio(lambda sample: sample.cpu_us), "{:.2f}".format),
            _or_dash(limit, figure),
            _or_dash(share, "{:.2f}".format),
        ]
    ]  # fmt: skip


def _unmeasured(samples: Sequence[Sample]) -> list[Target]:
    return [target for target in TARGETS if measured(samples, target) is None]


def _targets(samples: Sequence[Sample]) -> list[list[str]]:
    return [_target_row(target, found) for target in TARGETS if (found := measured(samples, target))]


def _target_row(target: Target, found: Spread) -> list[str]:
    return [
        target.model,
        target.protocol,
        str(target.concurrency),
        target.measure,
        target.bound,
        f"{found.median:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        str(found.runs),
        "yes" if target.met_by(found.median) else "NO",
    ]


def _warnings(samples: Sequence[Sample]) -> list[str]:
    idle = [sample.idle_server_cores for sample in samples]
    return [
        *disturbances("the server that should have been idle", idle, IDLE_SERVER_CORES),
        *disturbances("programs outside the benchmark", [sample.foreign_cores for sample in samples], FOREIGN_CORES),
    ]


def disturbances(what: str, cores: Sequence[float], bound: float) -> list[str]:
    """A warning where `what` used more than `bound` cores in some of the measurements."""
    disturbed = sum(value > bound for value in cores)
    if not disturbed:
        return []
    return [
        f"Warning: in {disturbed} of {len(cores)} measurements {what} used more than {bound:g} cores "
        f"(at worst {max(cores):.2f}, in the median {statistics.median(cores):.2f})."
    ]


def figure(value: float) -> str:
    """Three significant digits are all that such a measurement has; more than that in front of the point are kept."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _or_dash(found: Spread | None, show: Callable[[float], str]) -> str:
    return "-" if found is None else show(found.median)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)
