"""Asks the real server about instance groups: python -m tests.conformance.instance_groups.record_instance_groups."""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.instance_groups.examining import ARGUMENTS, examine, write_models
from tests.conformance.instance_groups.groups import GROUPS
from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    repository = write_models(folder / "models")
    with start_real_triton(repository, folder / "log", *ARGUMENTS) as server:
        return {name: examine(server, name) for name in GROUPS}


if __name__ == "__main__":
    sys.exit(write_down(record, "instance_groups"))
