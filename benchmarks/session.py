"""One run of a benchmark: its folder, the machine, what could not be measured, and the files that it leaves."""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.bare_loop import BareLoopError
from benchmarks.environment import busy_warning, describe
from benchmarks.load import LoadError
from benchmarks.progress import progress
from benchmarks.servers import ServerError

RESULTS = Path(__file__).parent / "results"


class Session:
    """`output` is the folder of the report and the logs; `failures` are texts for the person at the terminal."""

    def __init__(self, program: str, output: Path | None):
        """`program`: the module that is run, as benchmarks.python. Without an `output` it is named after the time."""
        self._program = program
        kind = program.removeprefix("benchmarks").replace(".", "-").replace("_", "-")
        self.output = (output or RESULTS / (time.strftime("%Y%m%d-%H%M%S") + kind)).absolute()
        self.output.mkdir(parents=True, exist_ok=True)
        self.environment: dict[str, object] = describe()
        self.failures: list[str] = []
        if warning := busy_warning():
            print(warning, file=sys.stderr)

    @contextlib.contextmanager
    def measuring(self) -> Iterator[Path]:
        """Gives a folder for what is needed meanwhile. What ends it early is a failure; what was measured counts."""
        prefix = self._program.replace(".", "-").replace("_", "-")
        try:
            with tempfile.TemporaryDirectory(prefix=f"atoll-{prefix}-") as scratch:
                yield Path(scratch)
        except (LoadError, ServerError, OSError) as error:
            self.failures.append(str(error))
        except KeyboardInterrupt:
            self.failures.append("interrupted; the figures are of what was measured until then")
        progress("")

    @contextlib.contextmanager
    def one(self, name: str, place: str = "") -> Iterator[None]:
        """Round one measurement: where it fails the others go on, unless a server has ended. `place`: which of all."""
        progress(f"{place}{name}")
        try:
            yield
        except (LoadError, BareLoopError, OSError) as error:
            self.failures.append(f"{name}: {error}")

    def write(self, report: str, measured: Mapping[str, object]) -> None:
        """report.md, and samples.json with what was measured."""
        document = {"environment": self.environment, **measured}
        (self.output / "samples.json").write_text(json.dumps(document, indent=1) + "\n")
        (self.output / "report.md").write_text(report)
        print(report)
        print(f"raw samples: {self.output / 'samples.json'}")

    def end(self) -> int:
        """Says what failed. Returns the process's exit status: 0 when all that was asked for was measured."""
        for failure in self.failures:
            print(f"{self._program}: {failure}", file=sys.stderr)
        return 1 if self.failures else 0
