"""Asks the real server about traces: python -m tests.conformance.tracing.record_tracing."""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.recording import write_down
from tests.conformance.tracing import scenarios
from tests.conformance.tracing.setting_questions import ask_grpc, ask_http, write_models


def record(folder: Path) -> dict[str, Any]:
    repository = write_models(folder / "models")
    found: dict[str, Any] = {}
    with start_real_triton(repository, folder / "log") as server:
        found["settings_without_a_file"] = ask_http(server, "")
    file = str(folder / "trace.json")
    with start_real_triton(repository, folder / "log", f"--trace-config=triton,file={file}") as server:
        found["settings"] = ask_http(server, file)
        found["settings_over_grpc"] = ask_grpc(server, file)
    models = scenarios.write_models(folder / "traced")
    levels = ("--trace-config=level=TIMESTAMPS", "--trace-config=level=TENSORS", "--trace-config=rate=1")
    options = (scenarios.CACHE, *levels, f"--trace-config=triton,file={file}")
    # one file for each trace: the real server loses them all where one of them has not ended
    with start_real_triton(models, folder / "log", *options, "--trace-config=triton,log-frequency=1") as server:
        scenarios.ask_everything(server)
        server.terminate()
        server.wait()
    found["traces"] = scenarios.summary(scenarios.read_entries(folder))
    patterns = ("--http-header-forward-pattern=x-.*|headers", "--grpc-header-forward-pattern=X-")
    with start_real_triton(models, folder / "log", scenarios.CACHE, *patterns) as server:
        found["headers"] = scenarios.ask_headers(server)
        found["headers_over_grpc"] = scenarios.ask_grpc_headers(server)
    return found


if __name__ == "__main__":
    sys.exit(write_down(record, "tracing"))
