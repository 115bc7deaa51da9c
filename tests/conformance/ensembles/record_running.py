"""Asks the real server about running ensembles: python -m tests.conformance.ensembles.record_running"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conformance.ensembles.ensemble_running import answers, write_running
from tests.conformance.process import install_real_triton, start_real_triton
from tests.conformance.record import RECORDS


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_running(folder / "models"), folder / "log") as server:
        return answers(server)


def main() -> int:
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        text = json.dumps(record(Path(folder)), indent=1, ensure_ascii=False)
    (RECORDS / "ensemble_running.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
