"""The Markdown of the benchmark of observability: figures, ratios within a round, and whether the bound was kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from benchmarks.observability.pages import PageCost
from benchmarks.observability.plan import PARTS, RECORDING_US, Part
from benchmarks.observability.recording import Cost, WholeCost
from benchmarks.observability.served import Observation, alike, differences, ratios
from benchmarks.report import FOREIGN_CORES, IDLE_SERVER_CORES, disturbances, environment_lines, figure, table
from benchmarks.samples import Sample, Spread, spread

_COST_HEAD = ("call", "batch", "summaries", "us a request", "lowest to highest", "runs", "target", "met")
_WHOLE_HEAD = (
    "clients", "batch", "summaries", "us without", "us with", "recording adds", "lowest to highest", "runs", "target",
    "met",
)  # fmt: skip
_PAGE_HEAD = (
    "page", "models", "they are", "encoding", "KB", "lines", "ms", "lowest to highest", "CPU ms", "runs",
)  # fmt: skip
_HEAD = (
    "subject", "protocol", "clients", "beside it", "runs", "requests/s", "p50 us", "p99 us", "CPU us",
    "x", "p50 x", "p99 x", "lowest to highest", "CPU us more",
)  # fmt: skip
_TITLES: Mapping[Part, str] = {
    "scrape": "A scrape beside the load",
    "dashboard": "An open dashboard beside the load",
    "tracing": "Traces",
}
_LAST: Mapping[Part, tuple[str, ...]] = {
    "scrape": ("pages", "ms a page"),
    "dashboard": ("pages", "ms a page"),
    "tracing": ("left by a trace",),
}
_READING = (
    "Medians over the rounds. CPU: the server's processor time per request. x: throughput over that of the row without "
    "it, in the same round; p50 x and p99 x likewise, and CPU us more, which is the difference. Lowest to highest: of "
    "p99 x."
)
_COSTS = (
    f"Processor time of the calls, less that of empty ones, of one thread. Target: {RECORDING_US:g} us. Summaries are "
    "those of `--metrics-config=summary_latencies=true`."
)
_WHOLE = (
    "Processor time of the whole process for a request to a model that does nothing: one client, whose requests are "
    "executed one by one on its own thread, and 8 with 16 requests outstanding each."
)
_LEFT = "Left by a trace: bytes of the file in the mode triton, spans that arrived in the mode opentelemetry."


def render(
    costs: Sequence[Cost],
    whole: Sequence[WholeCost],
    pages: Sequence[PageCost],
    observed: Sequence[Observation],
    environment: Mapping[str, object],
    failures: Sequence[str] = (),
) -> str:
    """`failures`: what could not be measured, and why, one text each."""
    parts = ["# Observability", environment_lines(environment)]
    if costs:
        parts += ["## Recording: the calls", table(_COST_HEAD, list(_cost_rows(costs))), _COSTS]
    if whole:
        parts += ["## Recording: whole requests", table(_WHOLE_HEAD, list(_whole_rows(whole))), _WHOLE]
    if pages:
        parts += ["## The pages, nothing else to do", table(_PAGE_HEAD, list(map(_page_row, pages)))]
    for part in PARTS:
        if found := [one for one in observed if one.part == part]:
            rows = [_row(observed, one) for one in _first_of_each(found)]
            parts += [f"## {_TITLES[part]}", table((*_HEAD, *_LAST[part]), rows), _READING]
            parts += [_LEFT] if part == "tracing" else []
    samples = [one.sample for one in observed]
    parts += disturbances(
        "the servers that should have been idle", [one.idle_server_cores for one in samples], IDLE_SERVER_CORES
    )
    parts += disturbances("programs outside the benchmark", [one.foreign_cores for one in samples], FOREIGN_CORES)
    return "\n\n".join([*parts, *(f"Failed: {failure}" for failure in failures)]) + "\n"


def _cost_rows(costs: Sequence[Cost]) -> Iterable[list[str]]:
    for cell in dict.fromkeys((one.what, one.batch, one.summaries) for one in costs):
        found = _spread(one.us for one in costs if (one.what, one.batch, one.summaries) == cell)
        yield [cell[0], str(cell[1]), _yes(cell[2]), f"{found.median:.2f}", *_judged(found)]


def _whole_rows(whole: Sequence[WholeCost]) -> Iterable[list[str]]:
    for cell in dict.fromkeys((one.threads, one.summaries) for one in whole):
        ones = [one for one in whole if (one.threads, one.summaries) == cell]
        added = _spread(one.added_us for one in ones)
        yield [
            str(cell[0]),
            f"{median(one.mean_batch for one in ones):.1f}",
            _yes(cell[1]),
            f"{median(one.without_us for one in ones):.2f}",
            f"{median(one.with_us for one in ones):.2f}",
            f"{added.median:.2f}",
            *_judged(added),
        ]


def _judged(found: Spread) -> list[str]:
    met = "yes" if found.median < RECORDING_US else "NO"
    return [f"{found.low:.2f} to {found.high:.2f}", str(found.runs), f"< {RECORDING_US:g}", met]


def _page_row(one: PageCost) -> list[str]:
    found = one.spread
    return [
        one.path,
        str(one.models),
        "active" if one.active else "idle",
        "gzip" if one.gzip else "-",
        f"{one.sent / 1000:,.1f}",
        f"{one.lines:,}" if one.lines else "-",
        figure(found.median),
        f"{figure(found.low)} to {figure(found.high)}",
        figure(one.cpu_ms),
        str(found.runs),
    ]


def _row(observed: Sequence[Observation], one: Observation) -> list[str]:
    found = alike(observed, one)
    measures: tuple[Callable[[Sample], float], ...] = (
        lambda sample: sample.throughput,
        lambda sample: sample.p50_us,
        lambda sample: sample.p99_us,
        lambda sample: sample.cpu_us,
    )
    figures = [figure(_spread(of(other.sample) for other in found).median) for of in measures]
    shares = [ratios(observed, one, of) for of in measures[:3]]
    more = differences(observed, one, measures[3])
    p99 = shares[2]
    return [
        one.subject,
        one.sample.protocol,
        str(one.sample.concurrency),
        one.condition,
        str(len(found)),
        *figures,
        *("-" if share is None else f"{share.median:.2f}" for share in shares),
        "-" if p99 is None else f"{p99.low:.2f} to {p99.high:.2f}",
        "-" if more is None else f"{more.median:+.1f}",
        *_last(found),
    ]


def _last(found: Sequence[Observation]) -> list[str]:
    if found[0].part == "tracing":
        left = spread(one.left for one in found if one.left is not None)
        return ["-" if left is None else figure(left.median)]
    pages = sum(one.pages for one in found)
    return [str(pages), figure(median(one.page_ms for one in found))] if pages else ["-", "-"]


def _first_of_each(found: Sequence[Observation]) -> list[Observation]:
    """One observation of each cell and condition, conditions in the order of the first round."""
    ordered = sorted(found, key=lambda one: one.sample.round)
    cells = dict.fromkeys(one.cell for one in ordered)
    firsts = {(one.cell, one.condition): one for one in reversed(ordered)}
    keys = dict.fromkeys((one.cell, one.condition) for one in ordered)
    return [firsts[key] for cell in cells for key in keys if key[0] == cell]


def _spread(values: Iterable[float]) -> Spread:
    found = spread(values)
    assert found is not None, "it is called with figures. This is a bug"
    return found


def _yes(value: bool) -> str:
    return "yes" if value else "no"
