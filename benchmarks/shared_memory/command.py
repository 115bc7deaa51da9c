"""The command line of the benchmark of shared memory: chooses what to measure, takes the rounds, writes the report."""

import argparse
from collections.abc import Sequence

from benchmarks.options import add_places, add_rounds, add_servers, counts, some_of
from benchmarks.plan import PROTOCOLS
from benchmarks.python.command import measure
from benchmarks.python.plan import ServerName
from benchmarks.session import Session
from benchmarks.shared_memory.plan import LOADS
from benchmarks.shared_memory.report import render

SIZES = tuple(dict.fromkeys(load.size for load in LOADS))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.shared_memory",
        description="Large tensors in requests and in system shared memory, under Atoll and the real Triton, in turns.",
    )
    add = options.add_argument
    add("--loads", type=some_of(SIZES), default=list(SIZES), metavar="A,B", help=f"of {','.join(SIZES)}; default all")
    add(
        "--protocols", type=some_of(PROTOCOLS), default=list(PROTOCOLS), metavar="A,B",
        help="of http,grpc; default both",
    )  # fmt: skip
    add("--clients", type=counts, default=[], metavar="N,N", help="only these numbers of clients; default 1,4")
    add_rounds(options, "16MB take twice that")
    add_servers(options)
    add_places(options, "six")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all that was asked for was measured, whatever the figures."""
    options = parser().parse_args(arguments)
    loads = [load for load in LOADS if load.size in options.loads]
    commands: dict[ServerName, str] = {"process": f"{options.atoll} --allow-client-shm=true"}  # the rival always has it
    return measure(Session("benchmarks.shared_memory", options.output), options, loads, commands, render)
