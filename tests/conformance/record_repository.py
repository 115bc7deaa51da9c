"""Asks the real server about loading and unloading, in order: python -m tests.conformance.record_repository

The answers are kept beside the other records.
"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down
from tests.conformance.repository_questions import MODES, PYTHON, ask_all, write_repository


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers, by mode and question."""
    answers = {}
    for mode, options in MODES.items():
        repository = write_repository(folder / mode, PYTHON, broken=mode == "explicit")
        with start_real_triton(repository, folder / f"{mode}.log", *options) as server:
            answers[mode] = ask_all(server, mode, PYTHON)
    return answers


if __name__ == "__main__":
    sys.exit(write_down(record, "repository"))
