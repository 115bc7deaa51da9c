"""The command line of the benchmark of frameworks: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.frameworks.measure import PROTOCOL, FrameworkBench, PairSample, pair_sample
from benchmarks.frameworks.plan import CLIENTS, FRAMEWORKS, Pair, Subject, order, pairs, subjects
from benchmarks.frameworks.report import render
from benchmarks.frameworks.repository import CACHE, lay_out, model_file
from benchmarks.load import PerfAnalyzer
from benchmarks.options import add_places, add_rounds, counts, some_of
from benchmarks.progress import progress
from benchmarks.samples import Sample
from benchmarks.servers import ATOLL, RunningServer, ServerError, make_onnx_files, serving
from benchmarks.session import Session

NETS = ("digits", "resnet18")
_PORTS_OF_A_SERVER = 3


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.frameworks",
        description="Each framework's models served over gRPC, as a fraction of the framework's own loop at the same "
        "batch sizes; and two models at once against one after the other.",
    )
    add = options.add_argument
    every = ",".join(FRAMEWORKS)
    add(
        "--frameworks", type=some_of(FRAMEWORKS), default=list(FRAMEWORKS), metavar="A,B",
        help=f"of {every}; default all",
    )  # fmt: skip
    add("--nets", type=some_of(NETS), default=list(NETS), metavar="A,B", help="of digits,resnet18; default both")
    add("--clients", type=counts, default=list(CLIENTS), metavar="N,N", help="requests outstanding; default 8,32")
    add_rounds(options, "resnet18 takes five times that")
    add("--no-own-loop", action="store_true", help="leave out the frameworks' own loops")
    add("--no-pairs", action="store_true", help="leave out two models at once")
    add("--only-pairs", action="store_true", help="nothing but two models at once")
    add("--atoll", default=ATOLL, metavar="COMMAND", help="starts the servers under test (default: `atoll serve`)")
    add_places(options, "twenty-one")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    session = Session("benchmarks.frameworks", options.output)
    samples: list[Sample] = []
    together: list[PairSample] = []
    with session.measuring() as scratch:
        load = PerfAnalyzer(scratch)
        load.prepare()
        make_onnx_files(CACHE / "onnx")
        wanted = [] if options.only_pairs else _exported(session, subjects(options.frameworks, options.nets))
        if wanted:
            with _servers(options, wanted, scratch, session) as servers:
                there = [one for one in wanted if one.format.framework in servers]
                bench = FrameworkBench(servers, load, there, options.clients, options.seconds, not options.no_own_loop)
                _measure(session, options, bench, there, samples)
        if not options.no_pairs:
            _measure_pairs(session, options, scratch, pairs(options.frameworks), together)
    measured = {
        "samples": [one.document() for one in samples],
        "pairs": [one.document() for one in together],
    }
    session.write(render(samples, together, options.frameworks, session.environment, session.failures), measured)
    return session.end()


def _exported(session: Session, wanted: Sequence[Subject]) -> list[Subject]:
    """Those whose files could be written; the others are failures."""
    found = []
    for one in wanted:
        progress(f"exporting {one.model}")
        try:
            model_file(one)
        except ServerError as error:
            session.failures.append(str(error))
        else:
            found.append(one)
    return found


@contextlib.contextmanager
def _servers(
    options: argparse.Namespace, wanted: Sequence[Subject], scratch: Path, session: Session
) -> Iterator[dict[str, RunningServer]]:
    """One for each framework, so that nothing in the process is another's. All stay up, so that no turn is cold."""
    with contextlib.ExitStack() as stack:
        servers: dict[str, RunningServer] = {}
        for number, framework in enumerate(dict.fromkeys(one.format.framework for one in wanted)):
            progress(f"starting the server of {framework}")
            served = [one for one in wanted if one.format.framework == framework]
            repository = lay_out(served, scratch / framework)
            port = options.port + _PORTS_OF_A_SERVER * number
            log = session.output / f"{framework}.log"
            try:
                servers[framework] = stack.enter_context(serving("atoll", options.atoll, repository, port, log))
            except ServerError as error:  # the other frameworks are measured without it
                session.failures.append(str(error))
        yield servers


def _measure(
    session: Session,
    options: argparse.Namespace,
    bench: FrameworkBench,
    there: list[Subject],
    samples: list[Sample],
) -> None:
    plan = list(order(there, options.clients, options.rounds))
    for number, (round_number, clients, one) in enumerate(plan, 1):
        name = f"round {round_number}: {one.model}, {clients} clients"
        if not bench.has_server(one):
            continue
        try:
            with session.one(name, f"[{number}/{len(plan)}] "):
                samples.append(bench.sample(round_number, one.case, PROTOCOL, clients))
        except ServerError as error:  # the other frameworks go on without it
            session.failures.append(f"{name}: {error}")
            bench.leave_out_ended()


def _measure_pairs(
    session: Session, options: argparse.Namespace, scratch: Path, found: Sequence[Pair], together: list[PairSample]
) -> None:
    """Each pair in a server that has these two models and no others."""
    clients = min(options.clients)
    for pair in found:
        name = f"{pair.first.model} and {pair.second.model}"
        progress(name)
        try:
            repository = lay_out((pair.first, pair.second), scratch / "pair")
            log = session.output / f"{pair.first.model}-{pair.second.model}.log"
            with serving("atoll", options.atoll, repository, options.port, log) as server:
                for number in range(1, options.rounds + 1):
                    with session.one(f"round {number}: {name}"):
                        together.append(pair_sample(number, pair, server, scratch, clients, options.seconds))
        except ServerError as error:
            session.failures.append(str(error))
