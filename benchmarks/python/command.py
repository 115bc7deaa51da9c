"""The command line of the benchmark of Python models: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.load import PerfAnalyzer
from benchmarks.options import add_places, add_rounds, add_servers, counts, some_of
from benchmarks.plan import PROTOCOLS, Protocol, Side
from benchmarks.progress import progress
from benchmarks.python.measure import Bench, Sample
from benchmarks.python.plan import LOADS, PARAMETERS, SERVERS, Load, ServerName
from benchmarks.python.report import render
from benchmarks.servers import RunningServer, parameter_lines, serving
from benchmarks.session import Session

MODELS = Path(__file__).parent / "models"

Cell = tuple[int, ServerName, Load, Protocol, int]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.python",
        description="What Python models cost: Atoll with them in processes and in threads, and the real Triton with "
        "the same model.py, in turns.",
    )
    models = [load.model for load in LOADS]
    add = options.add_argument
    add("--models", type=some_of(models), default=models, metavar="A,B", help=f"of {','.join(models)}")
    add(
        "--protocols",
        type=some_of(PROTOCOLS),
        default=list(PROTOCOLS),
        metavar="A,B",
        help="of http,grpc; default both",
    )
    add("--clients", type=counts, default=[], metavar="N,N", help="only these numbers of clients; default all planned")
    add(
        "--placements", type=some_of(("process", "thread")), default=["process", "thread"], metavar="A,B",
        help="where Atoll runs the models; default process,thread",
    )  # fmt: skip
    add_rounds(options, "16 MB take twice that")
    add_servers(options)
    add_places(options, "nine")
    return options


def order(
    loads: Sequence[Load], protocols: Sequence[str], clients: Sequence[int], servers: Sequence[ServerName], rounds: int
) -> Iterator[Cell]:
    """What is measured one after the other: the servers in turns, within seconds of each other.

    Every second round asks them the other way round, so that a machine that grows slower or faster favours none.
    """
    for round_number in range(1, rounds + 1):
        for load in loads:
            for protocol in load.protocols:
                for count in load.clients:
                    if protocol in protocols and (not clients or count in clients):
                        for server in servers if round_number % 2 else reversed(servers):
                            yield round_number, server, load, protocol, count


def lay_out_models(server: ServerName, loads: Sequence[Load], target: Path) -> Path:
    """A fresh repository in `target`: the same files for each server, with the parameters of its placement."""
    shutil.rmtree(target, ignore_errors=True)
    for name in dict.fromkeys(model for load in loads for model in load.models):
        shutil.copytree(MODELS / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        with (target / name / "config.pbtxt").open("a") as config:
            config.writelines(parameter_lines(PARAMETERS[server]))
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    loads = [load for load in LOADS if load.model in options.models]
    commands: dict[ServerName, str] = {name: options.atoll for name in SERVERS if name in options.placements}
    return measure(Session("benchmarks.python", options.output), options, loads, commands, render)


def measure(
    session: Session,
    options: argparse.Namespace,
    loads: Sequence[Load],
    commands: Mapping[ServerName, str],
    render: Callable[[Sequence[Sample], Mapping[str, object], Sequence[str]], str],
) -> int:
    """Takes the rounds that are asked for, and writes the report. `commands` start Atoll; the rival is in `options`."""
    started = {**commands, "rival": options.rival} if options.rival else commands
    samples: list[Sample] = []
    with session.measuring() as scratch:
        generator = PerfAnalyzer(scratch)
        generator.prepare()
        with _serving_all(started, loads, options.port, scratch, session.output) as servers:
            cells = list(order(loads, options.protocols, options.clients, list(servers), options.rounds))
            _measure_all(session, Bench(servers, generator, options.seconds), cells, samples)
    if samples:
        report = render(samples, session.environment, session.failures)
        session.write(report, {"samples": [sample.document() for sample in samples]})
    return session.end()


def _measure_all(session: Session, bench: Bench, cells: Sequence[Cell], samples: list[Sample]) -> None:
    """Adds to `samples`. One model that cannot be measured does not cost the others' figures."""
    for number, (round_number, server, load, protocol, clients) in enumerate(cells, 1):
        name = f"round {round_number}: {server} {load.title} {protocol} {clients}"
        with session.one(name, f"[{number}/{len(cells)}] "):
            samples.append(bench.sample(round_number, server, load, protocol, clients))


@contextlib.contextmanager
def _serving_all(
    commands: Mapping[ServerName, str], loads: Sequence[Load], first_port: int, scratch: Path, output: Path
) -> Iterator[dict[ServerName, RunningServer]]:
    """All stay up all the time, so that no turn meets a cold one; samples record what the idle ones used."""
    progress("starting the servers")
    with contextlib.ExitStack() as stack:
        servers: dict[ServerName, RunningServer] = {}
        for number, (name, command) in enumerate(commands.items()):
            repository = lay_out_models(name, loads, scratch / name)
            side: Side = "rival" if name == "rival" else "atoll"
            running = serving(side, command, repository, first_port + 3 * number, output / f"{name}.log")
            servers[name] = stack.enter_context(running)
        yield servers
