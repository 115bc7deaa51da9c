"""Asks the real server about loading and unloading, in order: python -m tests.conformance.record_repository

The answers are kept beside the other records.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conformance.process import install_real_triton, start_real_triton
from tests.conformance.record import RECORDS
from tests.conformance.repository_questions import MODES, PYTHON, ask_all, write_repository


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers, by mode and question."""
    answers = {}
    for mode, options in MODES.items():
        repository = write_repository(folder / mode, PYTHON, broken=mode == "explicit")
        with start_real_triton(repository, folder / f"{mode}.log", *options) as server:
            answers[mode] = ask_all(server, mode, PYTHON)
    return answers


def main() -> int:
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        text = json.dumps(record(Path(folder)), indent=1, ensure_ascii=False)
    (RECORDS / "repository.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
