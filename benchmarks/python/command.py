"""The command line of the benchmark of Python models: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.environment import busy_warning, describe
from benchmarks.load import LoadError, PerfAnalyzer
from benchmarks.plan import PROTOCOLS, Protocol
from benchmarks.progress import progress
from benchmarks.python.measure import Bench, Sample
from benchmarks.python.plan import LOADS, PARAMETERS, SERVERS, Load, ServerName
from benchmarks.python.report import render
from benchmarks.servers import ATOLL, RIVAL, RunningServer, ServerError, parameter_lines, serving

MODELS = Path(__file__).parent / "models"
RESULTS = Path(__file__).parents[1] / "results"

Cell = tuple[int, ServerName, Load, Protocol, int]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.python",
        description="What Python models cost: Atoll with them in processes and in threads, and the real Triton with "
        "the same model.py, in turns.",
    )
    models = [load.model for load in LOADS]
    add = options.add_argument
    add("--models", type=_some_of(models), default=models, metavar="A,B", help=f"of {','.join(models)}")
    add(
        "--protocols",
        type=_some_of(PROTOCOLS),
        default=list(PROTOCOLS),
        metavar="A,B",
        help="of http,grpc; default both",
    )
    add("--clients", type=_counts, default=[], metavar="N,N", help="only these numbers of clients; default all planned")
    add(
        "--placements", type=_some_of(("process", "thread")), default=["process", "thread"], metavar="A,B",
        help="where Atoll runs the models; default process,thread",
    )  # fmt: skip
    add("--rounds", type=int, default=3, help="how often all is measured; medians are reported (default 3)")
    add("--seconds", type=float, default=3.0, help="length of one measurement; 16 MB take twice that (default 3)")
    add("--atoll", default=ATOLL, metavar="COMMAND", help="starts the server under test (default: `atoll serve`)")
    add(
        "--rival", nargs="?", const=RIVAL, default="", metavar="COMMAND",
        help="measure the real Triton too (default: no; benchmarks/real-triton without a COMMAND)",
    )  # fmt: skip
    add("--port", type=int, default=18000, help="first of nine ports in a row that must be free (default 18000)")
    add("--output", type=Path, help="folder for report.md, samples.json and the logs (default benchmarks/results/TIME)")
    return options


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def choose(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return choose


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one client must ask")
    return counts


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
    output = (options.output or RESULTS / time.strftime("%Y%m%d-%H%M%S-python")).absolute()
    output.mkdir(parents=True, exist_ok=True)
    environment = describe()
    if warning := busy_warning():
        print(warning, file=sys.stderr)
    samples: list[Sample] = []
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-python-benchmark-") as scratch:
            generator = PerfAnalyzer(Path(scratch))
            generator.prepare()
            with _servers(options, loads, Path(scratch), output) as servers:
                bench = Bench(servers, generator, options.seconds)
                names = [name for name in SERVERS if name in servers]
                cells = list(order(loads, options.protocols, options.clients, names, options.rounds))
                _measure_all(bench, cells, samples, failures)
    except (LoadError, ServerError, OSError) as error:
        failures.append(str(error))
    except KeyboardInterrupt:
        failures.append("interrupted; the figures are of what was measured until then")
    progress("")
    if samples:
        _write(output, render(samples, environment, failures), environment, samples)
    for failure in failures:
        print(f"benchmarks.python: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _measure_all(bench: Bench, cells: Sequence[Cell], samples: list[Sample], failures: list[str]) -> None:
    """One model that cannot be measured does not cost the others' figures; a server that has ended does."""
    for number, (round_number, server, load, protocol, clients) in enumerate(cells, 1):
        name = f"round {round_number}: {server} {load.model} {protocol} {clients}"
        progress(f"[{number}/{len(cells)}] {name}")
        try:
            samples.append(bench.sample(round_number, server, load, protocol, clients))
        except (LoadError, OSError) as error:
            failures.append(f"{name}: {error}")


@contextlib.contextmanager
def _servers(
    options: argparse.Namespace, loads: Sequence[Load], scratch: Path, output: Path
) -> Iterator[dict[ServerName, RunningServer]]:
    """All stay up all the time, so that no turn meets a cold one; samples record what the idle ones used."""
    progress("starting the servers")
    commands: dict[ServerName, str] = {name: options.atoll for name in SERVERS if name in options.placements}
    if options.rival:
        commands["rival"] = options.rival
    with contextlib.ExitStack() as stack:
        servers: dict[ServerName, RunningServer] = {}
        for number, (name, command) in enumerate(commands.items()):
            repository = lay_out_models(name, loads, scratch / name)
            side, port = "rival" if name == "rival" else "atoll", options.port + 3 * number
            running = serving(side, command, repository, port, output / f"{name}.log")  # type: ignore[arg-type]
            servers[name] = stack.enter_context(running)
        yield servers


def _write(output: Path, report: str, environment: dict[str, object], samples: Sequence[Sample]) -> None:
    document = {"environment": environment, "samples": [sample.document() for sample in samples]}
    (output / "samples.json").write_text(json.dumps(document, indent=1) + "\n")
    (output / "report.md").write_text(report)
    print(report)
    print(f"raw samples: {output / 'samples.json'}")
