"""The lifecycle benchmark's command line: what is measured, how much of it, and where the report goes."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import busy_warning, describe
from benchmarks.lifecycle import cycles, memory, reload, report, startup
from benchmarks.lifecycle.control import ControlError
from benchmarks.lifecycle.repositories import BENCHMARKS
from benchmarks.progress import progress
from benchmarks.servers import ATOLL, RIVAL, ServerError

PARTS = ("startup", "reload", "memory", "cycles")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.lifecycle",
        description="What loading models costs: start-up, reload under load, memory per model, and whether memory goes "
        "back. Ends with status 1 when a request failed or was answered wrongly during a reload, or memory leaked.",
    )
    add = options.add_argument
    add("parts", nargs="*", type=_part, metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    add("--models", type=_counts, default=[1, 100, 500], metavar="N,N", help="small models; default 1,100,500")
    add("--rounds", type=_count, default=5, help="how often each start is measured (default 5)")
    add(
        "--load-threads", type=_counts, default=[], metavar="N,N",
        help="measure start-up with these --model-load-thread-counts too",
    )  # fmt: skip
    add("--reloads", type=_count, default=20, help="and as many changes of the number of instances (default 20)")
    add("--clients", type=_count, default=4, help="processes that ask while the model is reloaded, of each protocol")
    add("--quiet-seconds", type=float, default=5.0, help="for latencies without reloads (default 5)")
    add("--cycles", type=_count, default=50, help="loads and unloads of the big model (default 50)")
    add("--megabytes", type=float, default=100.0, help="size of the big model (default 100)")
    add(
        "--layers", type=_counts, default=[1, 25], metavar="N,N",
        help="tensors that the big model is made of: each number is a run of its own (default 1,25)",
    )  # fmt: skip
    add("--atoll", default=ATOLL, metavar="COMMAND", help="starts the server under test (default: `atoll serve`)")
    add(
        "--rival", nargs="?", const=RIVAL, default="", metavar="COMMAND",
        help="start the real Triton in turns with Atoll, with Python models (default: no; benchmarks/real-triton "
        "without a COMMAND)",
    )  # fmt: skip
    add("--rival-models", type=_counts, default=[1, 20], metavar="N,N", help="how many of those; default 1,20")
    add("--port", type=int, default=18000, help="first of three ports in a row that must be free (default 18000)")
    add("--output", type=Path, help="folder for the report (default benchmarks/results/TIME-lifecycle)")
    return options


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PARTS)}")
    return text


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


class Results:
    """What has been measured so far."""

    def __init__(self) -> None:
        self.sections: list[str] = []
        self.document: dict[str, Any] = {}
        self.failures: list[str] = []

    def add(self, name: str, section: str, document: object, failure: str = "") -> None:
        self.sections.append(section)
        self.document[name] = document
        if failure:
            self.failures.append(failure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0 when all was measured and is as it must be."""
    options = parser().parse_args(arguments)
    chosen = [part for part in PARTS if part in options.parts] or list(PARTS)
    name = time.strftime("%Y%m%d-%H%M%S-lifecycle")
    output = (options.output or BENCHMARKS / "results" / name).absolute()
    output.mkdir(parents=True, exist_ok=True)
    environment = describe()
    if warning := busy_warning():
        print(warning, file=sys.stderr)
    results = Results()
    with tempfile.TemporaryDirectory(prefix="atoll-lifecycle-") as scratch:
        for part in chosen:
            try:
                _MEASURES[part](options, Path(scratch), output, results)
            except (ServerError, ControlError, OSError) as error:
                results.failures.append(f"{part}: {error}")
            except KeyboardInterrupt:
                results.failures.append(f"{part}: interrupted; the figures are of what was measured until then")
                break
    progress("")
    _write(output, results, environment)
    for failure in results.failures:
        print(f"benchmarks.lifecycle: {failure}", file=sys.stderr)
    return 1 if results.failures else 0


def _startup(options: argparse.Namespace, scratch: Path, output: Path, results: Results) -> None:
    settings = startup.settings(
        options.atoll, options.models, options.load_threads, options.rival, options.rival_models
    )
    found = startup.measure(settings, options.rounds, options.port, scratch, output)
    results.add("startup", report.startup_section(found), [one.document() for one in found])


def _reload(options: argparse.Namespace, scratch: Path, output: Path, results: Results) -> None:
    found = reload.measure(
        options.atoll, options.reloads, options.clients, options.quiet_seconds, options.port, scratch, output
    )
    failure = f"reload: {found.failed} requests failed, {found.wrong} were answered wrongly, and answers came from "
    failure += f"{found.seen} of {found.published} models"
    results.add("reload", report.reload_section(found), found.document(), "" if found.clean else failure)


def _memory(options: argparse.Namespace, scratch: Path, output: Path, results: Results) -> None:
    settings = startup.settings(options.atoll, options.models, [], options.rival, options.rival_models)
    found = memory.measure(settings, options.port, scratch, output)
    results.add("memory", report.memory_section(found), [one.document() for one in found])


def _cycles(options: argparse.Namespace, scratch: Path, output: Path, results: Results) -> None:
    for layers in options.layers:
        found = cycles.measure(options.atoll, options.megabytes, layers, options.cycles, options.port, scratch, output)
        failure = f"cycles: memory leaks, {found.growth_per_cycle / 1e6:.1f} MB with each" if found.leaks else ""
        results.add(f"cycles of {layers}", report.cycles_section(found), found.document(), failure)


_MEASURES: dict[str, Callable[[argparse.Namespace, Path, Path, Results], None]] = {
    "startup": _startup,
    "reload": _reload,
    "memory": _memory,
    "cycles": _cycles,
}


def _write(output: Path, results: Results, environment: dict[str, object]) -> None:
    text = report.render(results.sections, environment, results.failures)
    document = {"environment": environment, **results.document}
    (output / "report.md").write_text(text)
    (output / "measurements.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)
    print(f"measurements: {output / 'measurements.json'}")
