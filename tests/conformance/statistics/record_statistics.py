"""Asks the real server what it counts: python -m tests.conformance.statistics.record_statistics"""

import sys
from pathlib import Path
from typing import Any

import grpc
from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down
from tests.conformance.statistics.counting import Counting
from tests.conformance.statistics.scenarios import SCENARIOS, examine
from tests.conformance.statistics.statistics_repository import write_counted

OPTIONS = ("--model-control-mode=explicit", "--load-model=*", "--cache-config=local,size=1048576")


def record(folder: Path) -> dict[str, Any]:
    """What it counts, by scenario."""
    repository = write_counted(folder / "models")
    with (
        start_real_triton(repository, folder / "log", *OPTIONS) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        return {name: examine(Counting(server, channel, repository), name) for name in SCENARIOS}


if __name__ == "__main__":
    sys.exit(write_down(record, "statistics"))
