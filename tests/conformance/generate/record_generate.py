"""Asks the real server to generate: python -m tests.conformance.generate.record_generate"""

import socket
import sys
from pathlib import Path
from typing import Any

from tests.conformance.generate import generate_questions
from tests.conformance.generate.generate_repository import write_repository
from tests.conformance.process import HOST, ServerProcess, start_real_triton
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import write_down


def answers(server: ServerProcess) -> dict[str, Any]:
    """A server's, by question."""
    return {
        "answers": {one.name: as_record(ask_http(server, one)) for one in generate_questions.questions()},
        "wire": {name: talk(server, request).decode() for name, request in generate_questions.wire()},
    }


def talk(server: ServerProcess, request: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    with socket.create_connection((HOST, server.ports["http"]), 30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return answer.read()


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_repository(folder / "models"), folder / "log") as server:
        return answers(server)


if __name__ == "__main__":
    sys.exit(write_down(record, "generate"))
