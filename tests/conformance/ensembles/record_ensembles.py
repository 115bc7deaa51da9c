"""Asks the real server about loading ensembles: python -m tests.conformance.ensembles.record_ensembles"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
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
from tests.conformance.process import install_real_triton, start_real_triton
from tests.conformance.record import RECORDS


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


def main() -> int:
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        text = json.dumps(record(Path(folder)), indent=1, ensure_ascii=False)
    (RECORDS / "ensemble_loading.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
