"""The benchmark's command line: chooses what to measure, takes the rounds, writes the report and the raw samples."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.bare_loop import BareLoopError
from benchmarks.environment import busy_warning, describe
from benchmarks.load import LoadError, LoadGenerator, PerfAnalyzer, WrkAndH2load
from benchmarks.measure import Bench
from benchmarks.plan import CASES, CONCURRENCY, PROTOCOLS, YARDSTICKS, Case, Protocol, Side
from benchmarks.progress import progress
from benchmarks.report import render
from benchmarks.samples import Sample
from benchmarks.servers import ATOLL, RIVAL, RunningServer, ServerError, lay_out_repository, make_onnx_files, serving

HERE = Path(__file__).parent
GENERATORS: dict[str, Callable[[Path], LoadGenerator]] = {"perf_analyzer": PerfAnalyzer, "wrk": WrkAndH2load}

Cell = tuple[int, Protocol, int, Case]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Atoll beside the real Triton and the bare ONNX Runtime loop, in one run.",
    )
    models = [case.model for case in CASES]
    add = options.add_argument
    add("--models", type=_some_of(models), default=models, metavar="A,B", help=f"of {','.join(models)}; default all")
    add(
        "--protocols",
        type=_some_of(PROTOCOLS),
        default=list(PROTOCOLS),
        metavar="A,B",
        help="of http,grpc; default both",
    )
    add(
        "--concurrency", type=_counts, default=list(CONCURRENCY), metavar="N,N",
        help="requests outstanding; default 1,8,32",
    )  # fmt: skip
    add("--rounds", type=int, default=3, help="how often all is measured; medians are reported (default 3)")
    add(
        "--seconds", type=float, default=3.0,
        help="length of one measurement; resnet18 takes five times that, bert twice (default 3)",
    )  # fmt: skip
    add("--load", choices=list(GENERATORS), default="perf_analyzer", help="wrk: wrk for HTTP, h2load for gRPC")
    add(
        "--atoll", default=ATOLL, metavar="COMMAND",
        help="starts the server under test; takes tritonserver's options (default: this interpreter's `atoll serve`)",
    )  # fmt: skip
    add(
        "--rival", default=RIVAL, metavar="COMMAND",
        help="starts the server that serves the yardstick (default: benchmarks/real-triton); empty: none",
    )  # fmt: skip
    add(
        "--model-parameter",
        type=_key_and_value,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="goes into each ONNX model's configuration, and to the bare loop alike; repeatable. "
        "Example: session.intra_op.allow_spinning=0",
    )
    add("--no-bare-loop", action="store_true", help="leave out the limit")
    add("--port", type=int, default=18000, help="first of six ports in a row that must be free (default 18000)")
    add("--output", type=Path, help="folder for report.md, samples.json and the logs (default benchmarks/results/TIME)")
    return options


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def choose(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return choose


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one request must be outstanding")
    return counts


def order(
    cases: Sequence[Case], protocols: Sequence[Protocol], concurrency: Sequence[int], rounds: int, with_rival: bool
) -> Iterator[Cell]:
    """What is measured one after the other: the yardstick and Atoll in turns, within seconds of each other.

    Every second round runs backwards, so that a machine that grows slower or faster favours neither side.
    """
    group: list[Case] = []
    for yardstick in [*YARDSTICKS, None]:
        followers = [case for case in cases if case.yardstick == yardstick]
        if followers and yardstick is not None and with_rival:
            group.append(YARDSTICKS[yardstick])
        group += followers
    for round_number in range(1, rounds + 1):
        for protocol in protocols:
            for clients in concurrency:
                for case in group if round_number % 2 else reversed(group):
                    yield round_number, protocol, clients, case


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    cases = [case for case in CASES if case.model in options.models]
    output = (options.output or HERE / "results" / time.strftime("%Y%m%d-%H%M%S")).absolute()
    output.mkdir(parents=True, exist_ok=True)
    environment = describe() | {
        "load generator": options.load,
        "model parameters": dict(options.model_parameter) or "none",
    }
    if warning := busy_warning():
        print(warning, file=sys.stderr)
    samples: list[Sample] = []
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="atoll-benchmarks-") as scratch:
            load = GENERATORS[options.load](Path(scratch))
            load.prepare()
            with _servers(options, cases, output) as servers:
                bench = Bench(servers, load, _onnx_files(), options.seconds, not options.no_bare_loop)
                plan = list(order(cases, options.protocols, options.concurrency, options.rounds, bool(options.rival)))
                _measure_all(bench, plan, samples, failures)
    except (LoadError, ServerError, OSError) as error:
        failures.append(str(error))
    except KeyboardInterrupt:
        failures.append("interrupted; the figures are of what was measured until then")
    progress("")
    if samples:
        _write(output, render(samples, environment, failures), environment, samples)
    for failure in failures:
        print(f"benchmarks: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _measure_all(bench: Bench, plan: Sequence[Cell], samples: list[Sample], failures: list[str]) -> None:
    """One model that cannot be measured does not cost the others' figures; a server that has ended does."""
    for number, (round_number, protocol, concurrency, case) in enumerate(plan, 1):
        name = f"round {round_number}: {case.side} {case.model} {protocol} {concurrency}"
        progress(f"[{number}/{len(plan)}] {name}")
        try:
            samples.append(bench.sample(round_number, case, protocol, concurrency))
        except (LoadError, BareLoopError, OSError) as error:
            failures.append(f"{name}: {error}")


@contextlib.contextmanager
def _servers(options: argparse.Namespace, cases: Sequence[Case], output: Path) -> Iterator[dict[Side, RunningServer]]:
    """Both servers stay up all the time, so that no turn meets a cold one; samples record what the idle one used."""
    progress("generating models and starting the servers")
    make_onnx_files(_onnx_files())
    yardsticks = [YARDSTICKS[name] for name in dict.fromkeys(case.yardstick for case in cases) if name is not None]
    sides: list[tuple[Side, str, Sequence[Case], int]] = [("atoll", options.atoll, cases, options.port)]
    if options.rival and yardsticks:
        sides.append(("rival", options.rival, yardsticks, options.port + 3))
    with contextlib.ExitStack() as stack:
        servers: dict[Side, RunningServer] = {}
        for side, command, served, port in sides:
            # The ports are this run's own, and so is a folder named after them.
            target = HERE / ".cache" / "repositories" / f"{side}-{port}"
            repository = lay_out_repository(side, served, _onnx_files(), dict(options.model_parameter), target)
            log = output / f"{side}.log"
            servers[side] = stack.enter_context(serving(side, command, repository, port, log))
        yield servers


def _onnx_files() -> Path:
    return HERE / ".cache" / "onnx"


def _write(output: Path, report: str, environment: dict[str, object], samples: Sequence[Sample]) -> None:
    document = {"environment": environment, "samples": [sample.document() for sample in samples]}
    (output / "samples.json").write_text(json.dumps(document, indent=1) + "\n")
    (output / "report.md").write_text(report)
    print(report)
    print(f"raw samples: {output / 'samples.json'}")
