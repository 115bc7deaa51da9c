"""Asks the real server about loading ensembles: python -m tests.conformance.ensembles.record_ensembles"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.ensembles.ensemble_loading import (
    EXPLICIT,
    LABELLED,
    classes,
    documents,
    make_moves,
    reasons,
    write_all,
    write_few,
)
from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    root, broken = write_all(folder / "all")
    with start_real_triton(root, folder / "all.log", EXPLICIT) as server:
        answers: dict[str, Any] = {"reasons": reasons(server, broken), "documents": documents(server)}
        answers["classes"] = {name: classes(server, name) for name in LABELLED}
    root = write_few(folder / "few")
    with start_real_triton(root, folder / "few.log", EXPLICIT) as server:
        answers["moves"] = make_moves(server, root)
    return answers


if __name__ == "__main__":
    sys.exit(write_down(record, "ensemble_loading"))
