"""The command line of the benchmark of scheduling: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.load import LoadGenerator, PerfAnalyzer, WrkAndH2load
from benchmarks.options import add_places, add_rounds, add_servers, some_of
from benchmarks.plan import Side
from benchmarks.progress import progress
from benchmarks.scheduling.in_process import BatcherCost, LiveSequences, batcher_cost, live_sequences
from benchmarks.scheduling.plan import COMPARISONS, SUBJECTS, Comparison
from benchmarks.scheduling.report import render
from benchmarks.scheduling.repository import lay_out
from benchmarks.scheduling.served import Bench, Sample
from benchmarks.servers import RunningServer, serving
from benchmarks.session import Session

ALL = (*SUBJECTS, "batcher", "live")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling",
        description="What scheduling costs: ensembles beside the real Triton's, an ensemble beside one of its steps, "
        "sequences beside plain batches, the batcher by itself, and many live sequences.",
    )
    add = options.add_argument
    add("--only", type=some_of(ALL), default=list(ALL), metavar="A,B", help=f"of {','.join(ALL)}; default all")
    add_rounds(options)
    add("--requests", type=int, default=10_000, help="of each of 8 threads, for the batcher (default 10000)")
    add("--sequences", type=int, default=10_000, help="that are live at once (default 10000)")
    add_servers(options)
    add(
        "--load", choices=("perf_analyzer", "wrk"), default="perf_analyzer",
        help="what drives the servers; wrk stands for wrk and h2load, which cost little themselves; with it, sequences "
        "are measured over HTTP alone (default perf_analyzer)",
    )  # fmt: skip
    add_places(options, "six")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    session = Session("benchmarks.scheduling", options.output)
    comparisons = [one for one in COMPARISONS if one.subject in options.only and (options.rival or not one.needs_rival)]
    samples: list[Sample] = []
    batcher: list[BatcherCost] = []
    live: list[LiveSequences] = []
    with session.measuring() as scratch:
        if "batcher" in options.only:
            progress("the batcher by itself")
            batcher += [batcher_cost(options.requests) for _ in range(options.rounds)]
        if "live" in options.only:
            progress("live sequences")
            live.append(live_sequences(options.sequences, scratch / "live"))
        if comparisons:
            generator: LoadGenerator = PerfAnalyzer(scratch)
            if options.load == "wrk":
                generator = WrkAndH2load(scratch)
                comparisons = [_for_wrk(one) for one in comparisons]
            generator.prepare()
            with _servers(options, scratch, session.output) as servers:
                _measure(session, Bench(servers, generator, options.seconds), comparisons, options.rounds, samples)
    measured = {
        "samples": [one.document() for one in samples],
        "batcher": [asdict(one) for one in batcher],
        "live": [asdict(one) for one in live],
    }
    session.write(render(samples, batcher, live, session.environment, session.failures), measured)
    return session.end()


def _for_wrk(one: Comparison) -> Comparison:
    return replace(one, protocols=("http",)) if one.subject == "sequences" else one


def _measure(
    session: Session, bench: Bench, comparisons: Sequence[Comparison], rounds: int, samples: list[Sample]
) -> None:
    """The two sides of a comparison within seconds of each other, every second round the other way round."""
    for number in range(1, rounds + 1):
        for one in comparisons:
            for protocol in one.protocols:
                for clients in one.clients:
                    for case in (one.ours, one.theirs) if number % 2 else (one.theirs, one.ours):
                        with session.one(f"round {number}: {case.side} {case.model} {protocol} {clients}"):
                            samples.append(bench.sample(number, case, protocol, clients))


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
