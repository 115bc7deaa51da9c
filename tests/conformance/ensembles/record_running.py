"""Asks the real server about running ensembles: python -m tests.conformance.ensembles.record_running"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.ensembles.ensemble_running import answers, write_running
from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_running(folder / "models"), folder / "log") as server:
        return answers(server)


if __name__ == "__main__":
    sys.exit(write_down(record, "ensemble_running"))
