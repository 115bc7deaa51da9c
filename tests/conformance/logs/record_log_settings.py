"""Asks the real server about its log's settings: python -m tests.conformance.logs.record_log_settings"""

import sys
from pathlib import Path
from typing import Any

import grpc
from tests.conformance import grpc_questions
from tests.conformance.logs import log_questions
from tests.conformance.process import ServerProcess, start_real_triton
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import write_down


def answers(server: ServerProcess) -> dict[str, Any]:
    """A server's, by protocol and question."""
    with grpc.insecure_channel(server.grpc) as channel:
        return {
            "http": {one.name: as_record(ask_http(server, one)) for one in log_questions.http()},
            "half wrong": {one.name: as_record(ask_http(server, one)) for one in log_questions.half_wrong()},
            "grpc": {one.name: grpc_questions.ask(channel, one) for one in log_questions.grpc()},
        }


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    (folder / "models").mkdir()
    with start_real_triton(folder / "models", folder / "log") as server:
        return answers(server)


if __name__ == "__main__":
    sys.exit(write_down(record, "log_settings"))
