"""Asks the real server about queues: python -m tests.conformance.queues.record_queues."""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.queues.examining import examine, write_models
from tests.conformance.queues.scenarios import SCENARIOS
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    repository = write_models(folder / "models")
    with start_real_triton(repository, folder / "log") as server:
        return {name: examine(server, repository, name) for name in SCENARIOS}


if __name__ == "__main__":
    sys.exit(write_down(record, "queues"))
