"""Asks the real server for its spans: python -m tests.telemetry.record_spans."""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down
from tests.conformance.tracing import scenarios
from tests.telemetry.comparing import ask, options
from tests.telemetry.receiver import running


def record(folder: Path) -> dict[str, Any]:
    models = scenarios.write_models(folder / "models")
    with (
        running() as receiver,
        start_real_triton(models, folder / "log", scenarios.CACHE, *options(receiver)) as server,
    ):
        return ask(server, receiver)


if __name__ == "__main__":
    sys.exit(write_down(record, "spans"))
