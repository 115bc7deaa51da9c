"""Asks the real server what no client asks: python -m tests.conformance.odd_requests.record_odd"""

import sys
from pathlib import Path
from typing import Any

import grpc
from tests.conformance import comparing, grpc_questions
from tests.conformance.odd_requests import odd_questions
from tests.conformance.odd_requests.odd_questions import write_repository
from tests.conformance.process import ServerProcess, start_real_triton
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import write_down


def answers(server: ServerProcess) -> dict[str, Any]:
    """A server's, by protocol and question."""
    with grpc.insecure_channel(server.grpc) as channel:
        return {
            "http": {one.name: as_record(ask_http(server, one)) for one in odd_questions.http()},
            "grpc": {one.name: comparing.normal(grpc_questions.ask(channel, one)) for one in odd_questions.grpc()},
        }


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_repository(folder / "models"), folder / "log") as server:
        return answers(server)


if __name__ == "__main__":
    sys.exit(write_down(record, "odd_requests"))
