"""The options that the benchmarks' command lines share."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.servers import ATOLL, RIVAL


def add_rounds(options: argparse.ArgumentParser, longer: str = "") -> None:
    """How often is measured, and how long. `longer`: what takes more than the rest, in words."""
    options.add_argument(
        "--rounds", type=int, default=3, help="how often all is measured; medians are reported (default 3)"
    )
    more = f"; {longer}" if longer else ""
    options.add_argument("--seconds", type=float, default=3.0, help=f"length of one measurement{more} (default 3)")


def add_servers(options: argparse.ArgumentParser) -> None:
    """What starts the servers; the real one is measured where it is asked for."""
    options.add_argument(
        "--atoll", default=ATOLL, metavar="COMMAND", help="starts the server under test (default: `atoll serve`)"
    )
    options.add_argument(
        "--rival", nargs="?", const=RIVAL, default="", metavar="COMMAND",
        help="measure the real Triton too (default: no; benchmarks/real-triton without a COMMAND)",
    )  # fmt: skip


def add_places(options: argparse.ArgumentParser, ports: str) -> None:
    """Where the servers listen, and where the report goes. `ports`: how many they need, in words."""
    options.add_argument(
        "--port", type=int, default=18000, help=f"first of {ports} ports in a row that must be free (default 18000)"
    )
    options.add_argument(
        "--output", type=Path,
        help="folder for report.md, samples.json and the logs (default benchmarks/results/TIME)",
    )  # fmt: skip


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """The type of an option whose value names some of these, with commas between them."""

    def choose(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return choose


def counts(text: str) -> list[int]:
    """The type of an option whose value is numbers of requests outstanding, or of clients, with commas between them."""
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("at least one request must be outstanding")
    return numbers
