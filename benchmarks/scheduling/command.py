"""The command line of the benchmark of scheduling: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.environment import busy_warning, describe
from benchmarks.load import LoadError, LoadGenerator, PerfAnalyzer, WrkAndH2load
from benchmarks.plan import Side
from benchmarks.progress import progress
from benchmarks.scheduling.in_process import BatcherCost, LiveSequences, batcher_cost, live_sequences
from benchmarks.scheduling.plan import COMPARISONS, SUBJECTS, Comparison
from benchmarks.scheduling.report import render
from benchmarks.scheduling.repository import lay_out
from benchmarks.scheduling.served import Bench, Sample
from benchmarks.servers import ATOLL, RIVAL, RunningServer, ServerError, serving

RESULTS = Path(__file__).parents[1] / "results"
ALL = (*SUBJECTS, "batcher", "live")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling",
        description="What scheduling costs: ensembles beside the real Triton's, an ensemble beside one of its steps, "
        "sequences beside plain batches, the batcher by itself, and many live sequences.",
    )
    add = options.add_argument
    add("--only", type=_some, default=list(ALL), metavar="A,B", help=f"of {','.join(ALL)}; default all")
    add("--rounds", type=int, default=3, help="how often all is measured; medians are reported (default 3)")
    add("--seconds", type=float, default=3.0, help="length of one measurement (default 3)")
    add("--requests", type=int, default=10_000, help="of each of 8 threads, for the batcher (default 10000)")
    add("--sequences", type=int, default=10_000, help="that are live at once (default 10000)")
    add("--atoll", default=ATOLL, metavar="COMMAND", help="starts the server under test (default: `atoll serve`)")
    add(
        "--rival", nargs="?", const=RIVAL, default="", metavar="COMMAND",
        help="measure the real Triton too (default: no; benchmarks/real-triton without a COMMAND)",
    )  # fmt: skip
    add(
        "--load", choices=("perf_analyzer", "wrk"), default="perf_analyzer",
        help="what drives the servers; wrk stands for wrk and h2load, which cost little themselves; with it, sequences "
        "are measured over HTTP alone (default perf_analyzer)",
    )  # fmt: skip
    add("--port", type=int, default=18000, help="first of six ports in a row that must be free (default 18000)")
    add("--output", type=Path, help="folder for report.md, samples.json and the logs (default benchmarks/results/TIME)")
    return options


def _some(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in ALL]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(ALL)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    output = (options.output or RESULTS / time.strftime("%Y%m%d-%H%M%S-scheduling")).absolute()
    output.mkdir(parents=True, exist_ok=True)
    environment = describe()
    if warning := busy_warning():
        print(warning, file=sys.stderr)
    comparisons = [one for one in COMPARISONS if one.subject in options.only and (options.rival or not one.needs_rival)]
    samples: list[Sample] = []
    batcher: list[BatcherCost] = []
    live: list[LiveSequences] = []
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-scheduling-benchmark-") as scratch:
            if "batcher" in options.only:
                progress("the batcher by itself")
                batcher += [batcher_cost(options.requests) for _ in range(options.rounds)]
            if "live" in options.only:
                progress("live sequences")
                live.append(live_sequences(options.sequences, Path(scratch) / "live"))
            if comparisons:
                generator: LoadGenerator = PerfAnalyzer(Path(scratch))
                if options.load == "wrk":
                    generator = WrkAndH2load(Path(scratch))
                    comparisons = [_for_wrk(one) for one in comparisons]
                generator.prepare()
                with _servers(options, Path(scratch), output) as servers:
                    _measure(Bench(servers, generator, options.seconds), comparisons, options.rounds, samples, failures)
    except (LoadError, ServerError, OSError) as error:
        failures.append(str(error))
    except KeyboardInterrupt:
        failures.append("interrupted; the figures are of what was measured until then")
    progress("")
    report = render(samples, batcher, live, environment, failures)
    (output / "report.md").write_text(report)
    document = {
        "environment": environment,
        "samples": [one.document() for one in samples],
        "batcher": [asdict(one) for one in batcher],
        "live": [asdict(one) for one in live],
    }
    (output / "samples.json").write_text(json.dumps(document, indent=1) + "\n")
    print(report)
    return 1 if failures else 0


def _for_wrk(one: Comparison) -> Comparison:
    return replace(one, protocols=("http",)) if one.subject == "sequences" else one


def _measure(
    bench: Bench, comparisons: Sequence[Comparison], rounds: int, samples: list[Sample], failures: list[str]
) -> None:
    """The two sides of a comparison within seconds of each other, every second round the other way round."""
    for number in range(1, rounds + 1):
        for one in comparisons:
            for protocol in one.protocols:
                for clients in one.clients:
                    for case in (one.ours, one.theirs) if number % 2 else (one.theirs, one.ours):
                        name = f"round {number}: {case.side} {case.model} {protocol} {clients}"
                        progress(name)
                        try:
                            samples.append(bench.sample(number, case, protocol, clients))
                        except (LoadError, OSError) as error:
                            failures.append(f"{name}: {error}")


@contextlib.contextmanager
def _servers(options: argparse.Namespace, scratch: Path, output: Path) -> Iterator[dict[Side, RunningServer]]:
    """Both stay up all the time, so that no turn meets a cold one."""
    progress("starting the servers")
    sides: dict[Side, str] = {"atoll": options.atoll}
    if options.rival:
        sides["rival"] = options.rival
    with contextlib.ExitStack() as stack:
        servers: dict[Side, RunningServer] = {}
        for number, (side, command) in enumerate(sides.items()):
            repository = lay_out(scratch / side, with_onnx=side == "atoll")
            running = serving(side, command, repository, options.port + 3 * number, output / f"{side}.log")
            servers[side] = stack.enter_context(running)
        yield servers
