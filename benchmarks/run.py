"""The benchmark's command line: chooses what to measure, takes the rounds, writes the report and the raw samples."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.load import LoadGenerator, PerfAnalyzer, WrkAndH2load
from benchmarks.measure import Bench
from benchmarks.options import add_places, add_rounds, counts, some_of
from benchmarks.plan import CASES, CONCURRENCY, PROTOCOLS, YARDSTICKS, Case, Protocol, Side
from benchmarks.progress import progress
from benchmarks.report import render
from benchmarks.samples import Sample
from benchmarks.servers import ATOLL, RIVAL, RunningServer, lay_out_repository, make_onnx_files, serving
from benchmarks.session import Session

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
    add("--models", type=some_of(models), default=models, metavar="A,B", help=f"of {','.join(models)}; default all")
    add(
        "--protocols",
        type=some_of(PROTOCOLS),
        default=list(PROTOCOLS),
        metavar="A,B",
        help="of http,grpc; default both",
    )
    add(
        "--concurrency", type=counts, default=list(CONCURRENCY), metavar="N,N",
        help="requests outstanding; default 1,8,32",
    )  # fmt: skip
    add_rounds(options, "resnet18 takes five times that, bert twice")
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
    add_places(options, "six")
    return options


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


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
    session = Session("benchmarks", options.output)
    session.environment |= {
        "load generator": options.load,
        "model parameters": dict(options.model_parameter) or "none",
    }
    samples: list[Sample] = []
    with session.measuring() as scratch:
        load = GENERATORS[options.load](scratch)
        load.prepare()
        with _servers(options, cases, session.output) as servers:
            bench = Bench(servers, load, _onnx_files(), options.seconds, not options.no_bare_loop)
            plan = list(order(cases, options.protocols, options.concurrency, options.rounds, bool(options.rival)))
            for number, (round_number, protocol, concurrency, case) in enumerate(plan, 1):
                name = f"round {round_number}: {case.side} {case.model} {protocol} {concurrency}"
                with session.one(name, f"[{number}/{len(plan)}] "):
                    samples.append(bench.sample(round_number, case, protocol, concurrency))
    if samples:
        report = render(samples, session.environment, session.failures)
        session.write(report, {"samples": [sample.document() for sample in samples]})
    return session.end()


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
