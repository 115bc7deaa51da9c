"""The command line of the benchmark of observability: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.lifecycle.repositories import SMALL_MODEL, copies
from benchmarks.load import LoadError, LoadGenerator, PerfAnalyzer, WrkAndH2load
from benchmarks.observability.pages import PageCost, page_costs, pages
from benchmarks.observability.plan import (
    MANY_CLIENTS,
    PARTS,
    SMALL_INPUTS,
    STRETCH,
    TRACE_CLIENTS,
    conditions,
)
from benchmarks.observability.receiver import receiving
from benchmarks.observability.recording import Cost, WholeCost, recording_costs, whole_costs
from benchmarks.observability.report import render
from benchmarks.observability.served import Observation, ServerBench, observe
from benchmarks.observability.tracing import TracingBench, order, tracing_servers
from benchmarks.options import add_places, add_rounds, add_servers, counts, some_of
from benchmarks.plan import PROTOCOLS, Case, Protocol, Side
from benchmarks.progress import progress
from benchmarks.servers import RunningServer, ServerError, serving
from benchmarks.session import Session

MANY_READY_SECONDS = 600.0  # hundreds of models, on whatever machine this is
PAGE_TIMES = 20  # three of those that have to be waited for
PROTOCOL: Protocol = "http"
QUICK = {"rounds": 1, "seconds": 1.0, "models": 30, "requests": 20_000, "clients": [8]}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.observability",
        description="What seeing costs: recording a request, a scrape of many models, an open dashboard, and traces.",
    )
    add = options.add_argument
    add("--only", type=some_of(PARTS), default=list(PARTS), metavar="A,B", help=f"of {','.join(PARTS)}; default all")
    add_rounds(options, "with the dashboard open or closed twice that")
    add(
        "--requests", type=int, default=100_000, help="for each figure of the recording, in each round (default 100000)"
    )
    add("--models", type=int, default=500, help="in the server that is scraped (default 500)")
    add("--interval", type=float, default=1.0, metavar="S", help="seconds between two scrapes (default 1)")
    add("--clients", type=counts, default=[], metavar="N,N", help="requests outstanding; default 1,8, with traces 8")
    add(
        "--protocols", type=some_of(PROTOCOLS), default=list(PROTOCOLS), metavar="A,B",
        help="of http,grpc, for the traces; default both",
    )  # fmt: skip
    add_servers(options)
    add(
        "--load", choices=("perf_analyzer", "wrk"), default="perf_analyzer",
        help="what drives the servers; wrk stands for wrk and h2load, which cost little themselves (default "
        "perf_analyzer)",
    )  # fmt: skip
    add("--quick", action="store_true", help="all of it once and briefly: whether it runs, no figures to keep")
    add_places(options, "thirteen")
    return options


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What --quick leaves out can be asked for beside it."""
    known = parser()
    if known.parse_args(arguments).quick:
        known.set_defaults(**QUICK)
    return known.parse_args(arguments)


class _Results:
    """What has been measured so far."""

    def __init__(self) -> None:
        self.costs: list[Cost] = []
        self.whole: list[WholeCost] = []
        self.pages: list[PageCost] = []
        self.observed: list[Observation] = []

    def write(self, session: Session) -> None:
        report = render(self.costs, self.whole, self.pages, self.observed, session.environment, session.failures)
        measured = {
            "recording": [one.document() for one in self.costs],
            "whole_requests": [one.document() for one in self.whole],
            "pages": [one.document() for one in self.pages],
            "samples": [one.document() for one in self.observed],
        }
        session.write(report, measured)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = read_options(arguments)
    session = Session("benchmarks.observability", options.output)
    results = _Results()
    with session.measuring() as scratch:
        if "recording" in options.only:
            _measure_recording(options, results)
        if set(options.only) != {"recording"}:
            load: LoadGenerator = WrkAndH2load(scratch) if options.load == "wrk" else PerfAnalyzer(scratch)
            load.prepare()
            with _part(session, "many models"):
                _measure_many(session, options, load, scratch, results)
            with _part(session, "traces"):
                _measure_traces(session, options, load, scratch, results)
    results.write(session)
    return session.end()


@contextlib.contextmanager
def _part(session: Session, name: str) -> Iterator[None]:
    """Round what has servers of its own: where they fail the others go on."""
    try:
        yield
    except (LoadError, ServerError, OSError) as error:
        session.failures.append(f"{name}: {error}")


def _measure_recording(options: argparse.Namespace, results: _Results) -> None:
    for number in range(1, options.rounds + 1):
        progress(f"[{number}/{options.rounds}] recording: the calls")
        results.costs += recording_costs(number, options.requests)
        progress(f"[{number}/{options.rounds}] recording: whole requests")
        results.whole += whole_costs(number, options.requests)


def _measure_many(
    session: Session, options: argparse.Namespace, load: LoadGenerator, scratch: Path, results: _Results
) -> None:
    """One model of many under load, with and without scrapes, and the dashboard open or not."""
    found = conditions(options.only, options.interval)
    if not found:
        return
    progress(f"starting a server with {options.models} models")
    repository = copies(SMALL_MODEL, scratch / "many", options.models)
    names = sorted(folder.name for folder in repository.iterdir())
    log = session.output / "many.log"
    with serving("atoll", options.atoll, repository, options.port, log, ready_seconds=MANY_READY_SECONDS) as server:
        _measure_pages(session, options, server, names, results)
        benches = {
            part: ServerBench("atoll", {"atoll": server}, load, options.seconds * STRETCH.get(part, 1))
            for part in PARTS
        }
        case = Case("atoll", names[0], SMALL_INPUTS)
        clients = options.clients or MANY_CLIENTS
        total, done = options.rounds * len(clients) * len(found), 0
        for number in range(1, options.rounds + 1):
            for count in clients:
                for one in found if number % 2 else reversed(found):
                    done += 1
                    subject = f"one of {options.models} models"
                    with session.one(f"round {number}: {one.title}, {count} clients", f"[{done}/{total}] "):
                        results.observed.append(
                            observe(benches[one.part], number, one, case, names[1:], subject, PROTOCOL, count)
                        )


def _measure_pages(
    session: Session, options: argparse.Namespace, server: RunningServer, names: Sequence[str], results: _Results
) -> None:
    for page in pages(options.only):
        times = 3 if options.quick or page.kept_s else PAGE_TIMES
        name = f"{page.path}{', gzip' if page.gzip else ''}, nothing else to do"
        with session.one(name):
            results.pages += page_costs(server, page, names, times)


def _measure_traces(
    session: Session, options: argparse.Namespace, load: LoadGenerator, scratch: Path, results: _Results
) -> None:
    if "tracing" not in options.only:
        return
    commands: dict[Side, str] = {"atoll": options.atoll}
    if options.rival:
        commands["rival"] = options.rival
    with (
        receiving(options.port + 12, session.output / "receiver.log") as receiver,
        tracing_servers(commands, options.port, scratch, session, receiver) as servers,
    ):
        bench = TracingBench(servers, load, options.seconds, receiver, scratch)
        cells = list(order(list(commands), options.protocols, options.clients or TRACE_CLIENTS, options.rounds))
        for number, cell in enumerate(cells, 1):
            if not bench.has_server(cell):
                continue
            try:
                with session.one(cell.words, f"[{number}/{len(cells)}] "):
                    results.observed.append(bench.observe(cell))
            except ServerError as error:
                session.failures.append(f"{cell.words}: {error}")
            bench.leave_out_ended()  # the others go on without it
