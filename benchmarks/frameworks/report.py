"""The Markdown of the benchmark of frameworks."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.frameworks.measure import PROTOCOL, PairSample
from benchmarks.frameworks.plan import NETS, TARGET, TARGET_NET, Subject, subject, subjects
from benchmarks.report import FOREIGN_CORES, IDLE_SERVER_CORES, disturbances, environment_lines, figure, table
from benchmarks.samples import Sample, Spread, select, spread
from benchmarks.statistics_document import Counts

_HEAD = (
    "net", "framework", "format", "clients", "runs", "requests/s", "batch", "own loop/s",
    "of own loop", "lowest to highest", "target", "met", "p50 us", "CPU us",
)  # fmt: skip
_BESIDE_HEAD = ("net", "format", "clients", "served", "lowest to highest", "own loop", "runs")
_PAIR_HEAD = ("first", "second", "clients", "first alone/s", "second alone/s", "at once/s", "ratio", "range", "runs")

_READING = (
    "Over gRPC with raw tensors, one instance each; medians over the rounds. Batch: mean rows per execution. Own loop: "
    "rows per second of the framework run in a loop in a process of its own, at the batch sizes that formed; of own "
    "loop: the server's throughput over that, within a round. CPU: the server's processor time per request."
)


def render(
    samples: Sequence[Sample],
    pair_samples: Sequence[PairSample],
    frameworks: Sequence[str],
    environment: Mapping[str, object],
    failures: Sequence[str] = (),
) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = ["# Frameworks", environment_lines(environment)]
    if samples:
        parts += [
            "## Served, as a fraction of the framework's own loop",
            table(_HEAD, _figures(samples, frameworks)),
            _READING,
        ]
        if beside := _beside(samples):
            parts += ["## OpenVINO over ONNX Runtime", table(_BESIDE_HEAD, beside), _BESIDE_READING]
    if pair_samples:
        parts += ["## Two models at once", table(_PAIR_HEAD, _pairs(pair_samples)), _PAIR_READING]
    parts += (
        disturbances("the idle servers", [one.idle_server_cores for one in samples], IDLE_SERVER_CORES)
        if samples
        else []
    )
    if samples:
        foreign = [one.foreign_cores for one in samples]
        parts += disturbances("programs outside the benchmark", foreign, FOREIGN_CORES)
    parts += [f"Failed: {failure}" for failure in failures]
    return "\n\n".join(parts) + "\n"


_BESIDE_READING = (
    "Requests per second of the one over the other, served and in their own loops, within a round. Where the processor "
    "has bfloat16, OpenVINO computes in it, unless told otherwise as openvino_f32 is; ONNX Runtime does not."
)
_PAIR_READING = (
    "Both models in one server, each with so many clients. Ratio: how much faster the work of both is done at once "
    "than one after the other; 1 is neither gain nor loss."
)


def of_own_loop(samples: Sequence[Sample]) -> Spread | None:
    """The server's throughput over the loop's, one value a round."""
    return spread(one.throughput / one.limit for one in samples if one.limit)


def _cell(samples: Sequence[Sample], one: Subject, clients: int) -> list[Sample]:
    return select(samples, "atoll", one.model, PROTOCOL, clients)


def _counts(samples: Sequence[Sample]) -> list[int]:
    return sorted({one.concurrency for one in samples})


def _figures(samples: Sequence[Sample], frameworks: Sequence[str]) -> list[list[str]]:
    rows = []
    for one in subjects(frameworks, NETS):
        for clients in _counts(samples):
            cell = _cell(samples, one, clients)
            if cell:
                rows.append(_row(one, clients, cell))
    return rows


def _row(one: Subject, clients: int, cell: Sequence[Sample]) -> list[str]:
    def middle(of: Callable[[Sample], float]) -> str:
        return figure(median(of(sample) for sample in cell))

    batches = [mean for sample in cell if (mean := Counts(0, 0, sample.executions).mean_batch)]
    limits = [sample.limit for sample in cell if sample.limit]
    share = of_own_loop(cell)
    bounded = one.net.name == TARGET_NET
    return [
        one.net.name,
        one.format.framework,
        one.format.name,
        str(clients),
        str(len(cell)),
        middle(lambda sample: sample.throughput),
        figure(median(batches)) if batches else "-",
        figure(median(limits)) if limits else "-",
        f"{share.median:.2f}" if share else "-",
        f"{share.low:.2f} to {share.high:.2f}" if share else "-",
        f">= {TARGET:g}" if bounded else "-",
        ("yes" if share.median >= TARGET else "NO") if bounded and share else "-",
        middle(lambda sample: sample.p50_us),
        middle(lambda sample: sample.cpu_us),
    ]


def _beside(samples: Sequence[Sample]) -> list[list[str]]:
    rows = []
    for net in ("digits", "resnet18"):
        for name in ("openvino", "openvino_f32"):
            for clients in _counts(samples):
                ours = {one.round: one for one in _cell(samples, subject(net, name), clients)}
                theirs = {one.round: one for one in _cell(samples, subject(net, "onnx"), clients)}
                both = [(one, theirs[number]) for number, one in ours.items() if number in theirs]
                served = spread(one.throughput / other.throughput for one, other in both)
                loops = spread(one.limit / other.limit for one, other in both if one.limit and other.limit)
                if served:
                    bounds = f"{served.low:.2f} to {served.high:.2f}"
                    own = f"{loops.median:.2f}" if loops else "-"
                    rows.append([net, name, str(clients), f"{served.median:.2f}", bounds, own, str(served.runs)])
    return rows


def _pairs(samples: Sequence[PairSample]) -> list[list[str]]:
    rows = []
    for key in dict.fromkeys((one.first, one.second, one.clients) for one in samples):
        cell = [one for one in samples if (one.first, one.second, one.clients) == key]
        found = spread(one.together for one in cell)
        assert found is not None, "a cell has samples. This is a bug"
        beside = [median(one.first_beside for one in cell), median(one.second_beside for one in cell)]
        rows.append(
            [
                *map(str, key),
                figure(median(one.first_alone for one in cell)),
                figure(median(one.second_alone for one in cell)),
                " and ".join(map(figure, beside)),
                f"{found.median:.2f}",
                f"{found.low:.2f} to {found.high:.2f}",
                str(found.runs),
            ]
        )
    return rows
