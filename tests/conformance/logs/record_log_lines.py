"""Writes down how lines of the real server's log look: python -m tests.conformance.logs.record_log_lines"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.logs.line_scenarios import SCENARIOS, lines_of
from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    """By scenario: lines of a model."""
    found = {}
    for number, (name, one) in enumerate(SCENARIOS.items()):
        found[name] = lines_of(start_real_triton, one, folder / str(number))
    return found


if __name__ == "__main__":
    sys.exit(write_down(record, "log_lines"))
