"""The command line of the benchmark of shared memory: chooses what to measure, takes the rounds, writes the report."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.environment import busy_warning, describe
from benchmarks.load import LoadError, PerfAnalyzer
from benchmarks.plan import PROTOCOLS
from benchmarks.progress import progress
from benchmarks.python.command import lay_out_models, order
from benchmarks.python.measure import Bench, Sample
from benchmarks.python.plan import ServerName
from benchmarks.servers import ATOLL, RIVAL, RunningServer, ServerError, serving
from benchmarks.shared_memory.plan import LOADS, Travel
from benchmarks.shared_memory.report import SERVERS, render

RESULTS = Path(__file__).parents[1] / "results"
SIZES = tuple(dict.fromkeys(load.size for load in LOADS))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.shared_memory",
        description="Large tensors in requests and in system shared memory, under Atoll and the real Triton, in turns.",
    )
    add = options.add_argument
    add("--loads", default=",".join(SIZES), metavar="A,B", help=f"of {','.join(SIZES)}; default all")
    add("--protocols", default=",".join(PROTOCOLS), metavar="A,B", help="of http,grpc; default both")
    add("--clients", default="", metavar="N,N", help="only these numbers of clients; default 1,4")
    add("--rounds", type=int, default=3, help="how often all is measured; medians are reported (default 3)")
    add("--seconds", type=float, default=3.0, help="length of one measurement; 16MB take twice that (default 3)")
    add("--atoll", default=ATOLL, metavar="COMMAND", help="starts the server under test (default: `atoll serve`)")
    add(
        "--rival", nargs="?", const=RIVAL, default="", metavar="COMMAND",
        help="measure the real Triton too (default: no; benchmarks/real-triton without a COMMAND)",
    )  # fmt: skip
    add("--port", type=int, default=18000, help="first of six ports in a row that must be free (default 18000)")
    add("--output", type=Path, help="folder for report.md, samples.json and the logs (default benchmarks/results/TIME)")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    loads = [load for load in LOADS if load.size in options.loads.split(",")]
    clients = [int(count) for count in options.clients.split(",") if count]
    output = (options.output or RESULTS / time.strftime("%Y%m%d-%H%M%S-shared-memory")).absolute()
    output.mkdir(parents=True, exist_ok=True)
    environment = describe()
    if warning := busy_warning():
        print(warning, file=sys.stderr)
    samples: list[Sample] = []
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-memory-benchmark-") as scratch:
            generator = PerfAnalyzer(Path(scratch))
            generator.prepare()
            with _servers(options, loads, Path(scratch), output) as servers:
                bench = Bench(servers, generator, options.seconds)
                names = [name for name in SERVERS if name in servers]
                cells = list(order(loads, options.protocols.split(","), clients, names, options.rounds))
                for number, (round_number, server, load, protocol, count) in enumerate(cells, 1):
                    name = f"round {round_number}: {server} {load.title} {protocol} {count}"
                    progress(f"[{number}/{len(cells)}] {name}")
                    try:
                        samples.append(bench.sample(round_number, server, load, protocol, count))
                    except (LoadError, OSError) as error:
                        failures.append(f"{name}: {error}")
    except (LoadError, ServerError, OSError) as error:
        failures.append(str(error))
    except KeyboardInterrupt:
        failures.append("interrupted; the figures are of what was measured until then")
    progress("")
    if samples:
        report = render(samples, environment, failures)
        document = {"environment": environment, "samples": [sample.document() for sample in samples]}
        (output / "samples.json").write_text(json.dumps(document, indent=1) + "\n")
        (output / "report.md").write_text(report)
        print(report)
        print(f"raw samples: {output / 'samples.json'}")
    for failure in failures:
        print(f"benchmarks.shared_memory: {failure}", file=sys.stderr)
    return 1 if failures else 0


@contextlib.contextmanager
def _servers(
    options: argparse.Namespace, loads: Sequence[Travel], scratch: Path, output: Path
) -> Iterator[dict[ServerName, RunningServer]]:
    """All stay up all the time, so that no turn meets a cold one; the real one always lets clients share memory."""
    progress("starting the servers")
    commands: dict[ServerName, str] = {"process": f"{options.atoll} --allow-client-shm=true"}
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
