"""The lifecycle benchmark's Markdown."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.lifecycle.answers import Kind
from benchmarks.lifecycle.cycles import LEAK_SHARE, Cycles, shown
from benchmarks.lifecycle.memory import Footprint, per_model
from benchmarks.lifecycle.reload import Reloads
from benchmarks.lifecycle.startup import Start, of_setting, seconds_per_model
from benchmarks.plan import Side
from benchmarks.report import environment_lines, figure, table
from benchmarks.samples import Spread

MEGABYTE = 1e6
NAMES: dict[Side, str] = {"atoll": "Atoll", "rival": "real Triton, Python models"}


def render(sections: Sequence[str], environment: Mapping[str, object], failures: Sequence[str] = ()) -> str:
    """`failures`: what could not be measured or was not as it must be, one text each."""
    parts = ["# What loading models costs", environment_lines(environment), *sections]
    parts += [f"Failed: {failure}" for failure in failures]
    return "\n\n".join(parts) + "\n"


def startup_section(starts: Sequence[Start]) -> str:
    found = dict.fromkeys((one.side, one.count, one.threads) for one in sorted(starts, key=_start_key))
    rows = []
    for side, count, threads in found:
        seconds = of_setting(starts, side, count, threads)
        assert seconds is not None, "a setting with starts has a median. This is a bug"
        each = seconds_per_model(starts, side, count, threads)
        rows.append(
            [
                NAMES[side], str(count), "default" if threads is None else str(threads), str(seconds.runs),
                figure(seconds.median), f"{figure(seconds.low)} to {figure(seconds.high)}",
                _or_dash(each, lambda value: figure(value * 1e3)),
            ]
        )  # fmt: skip
    head = ("server", "models", "load threads", "runs", "seconds", "range", "ms per model")
    return "\n\n".join(["## Start-up until ready", table(head, rows), _STARTUP_READING])


_STARTUP_READING = (
    "From the start of the process until /v2/health/ready says yes; medians over the rounds. Ms per model: what each "
    "beyond the first (or the fewest measured) cost. The models of the real server, which comes without ONNX Runtime "
    "from pip, are Python ones, with a process for each: no race of equal backends."
)


def _start_key(one: Start) -> tuple[str, int, int]:
    return one.side, one.count, one.threads or 0


def reload_section(found: Reloads) -> str:
    rows = []
    for protocol, tallies in found.tallies.items():
        quiet = next((one for one in tallies if one.phase == "no reloads"), tallies[0])
        rows += [
            [
                protocol, one.phase, f"{one.requests:,}", str(one.failed), str(one.wrong),
                figure(one.p50_us), figure(one.p99_us), figure(one.max_us), f"{one.p99_us / quiet.p99_us:.2f}",
            ]
            for one in tallies
        ]  # fmt: skip
    head = ("protocol", "phase", "requests", "failed", "wrong", "p50 us", "p99 us", "max us", "p99 x")
    calls = [
        [_CALLS[kind], str(len(seconds)), figure(statistics.median(seconds) * 1e3), figure(max(seconds) * 1e3)]
        for kind in _CALLS
        if (seconds := [one.seconds for one in found.changes if one.kind == kind])
    ]
    return "\n\n".join(
        [
            "## Reload under load",
            f"**Failed requests: {found.failed}. Wrong answers: {found.wrong}.** {found.clients} clients of each "
            f"protocol, one request outstanding each; answers came from {found.seen} of {found.published} models.",
            table(head, rows),
            table(("load call", "calls", "median ms", "max ms"), calls),
            _RELOAD_READING,
            *(f"A failure: {text}" for text in found.failures),
        ]
    )


_CALLS: dict[Kind, str] = {
    "load": "first, nobody asking",
    "reload": "another file",
    "instances": "another number of instances",
}

_RELOAD_READING = (
    "Wrong: not the input times one factor, or the factor of a model that was no longer, or not yet, served. P99 x: "
    "over that of the phase without reloads. Load call: from the request to load until its answer."
)


def memory_section(footprints: Sequence[Footprint]) -> str:
    rows = []
    for one in footprints:
        each = per_model(footprints, one)
        rows.append(
            [
                NAMES[one.side], str(one.count), figure(one.used.resident_bytes / MEGABYTE),
                figure(one.used.proportional_bytes / MEGABYTE), str(one.used.processes), str(one.used.threads),
                "-" if each is None else figure(each.resident_bytes / 1e3),
                "-" if each is None else figure(each.proportional_bytes / 1e3),
                "-" if each is None else f"{each.threads:.1f}",
            ]
        )  # fmt: skip
    head = (
        "server", "models", "resident MB", "proportional MB", "processes", "threads",
        "resident KB per model", "proportional KB per model", "threads per model",
    )  # fmt: skip
    return "\n\n".join(["## Memory per loaded small model", table(head, rows), _MEMORY_READING])


_MEMORY_READING = (
    "An idle server with all its child processes. Proportional: a page that several processes share counts by its "
    "share. Per model: what each beyond the first (or the fewest measured) added."
)


def cycles_section(found: Cycles) -> str:
    rows = [["before the first", figure(found.before / MEGABYTE), "-", "-", "-", "-"]]
    rows += [
        [
            str(one.number), figure(one.unloaded / MEGABYTE), figure(one.loaded / MEGABYTE),
            figure(one.peak / MEGABYTE), figure(one.load_seconds * 1e3), figure(one.unload_seconds * 1e3),
        ]
        for one in shown(found.cycles)
    ]  # fmt: skip
    head = ("cycle", "unloaded MB", "loaded MB", "peak MB", "load ms", "unload ms")
    return "\n\n".join(
        [
            f"## {len(found.cycles)} loads and unloads of a model of {figure(found.file_bytes / MEGABYTE)} MB in "
            f"{found.layers} {'tensor' if found.layers == 1 else 'tensors'}",
            f"**Growth per cycle: {found.growth_per_cycle / 1e3:+.1f} KB.** Left after the last unload, over the "
            f"server that had loaded nothing: {figure(found.kept / MEGABYTE)} MB. More than "
            f"{LEAK_SHARE * found.file_bytes / MEGABYTE:.0f} MB between the first cycle and the last would be a leak: "
            f"{'it IS' if found.leaks else 'it is not'}.",
            table(head, rows),
            _CYCLES_READING,
        ]
    )


_CYCLES_READING = (
    "Resident size of the server. Each cycle loads the model, runs it once, and unloads it; growth is counted from "
    "after the first cycle, which also loads the runtime itself."
)


def _or_dash(found: Spread | None, show: Callable[[float], str]) -> str:
    return "-" if found is None else show(found.median)
