"""Asks the real server about shared memory: python -m tests.conformance.shared_memory.record_memory"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down
from tests.conformance.shared_memory.memory_repository import write_repository
from tests.conformance.shared_memory.running import run_all


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_repository(folder / "models"), folder / "log") as server:
        return run_all(server)


if __name__ == "__main__":
    sys.exit(write_down(record, "shared_memory"))
