"""Asks the real server for classes: python -m tests.conformance.classification.record_classes"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from tests.conformance import comparing, grpc_questions
from tests.conformance.classification import class_questions
from tests.conformance.classification.class_repository import write_repository
from tests.conformance.process import ServerProcess, install_real_triton, start_real_triton
from tests.conformance.record import RECORDS, as_record, ask_http


def answers(server: ServerProcess) -> dict[str, Any]:
    """A server's, by protocol and question."""
    with grpc.insecure_channel(server.grpc) as channel:
        return {
            "http": {one.name: as_record(ask_http(server, one)) for one in class_questions.http()},
            "grpc": {one.name: comparing.normal(grpc_questions.ask(channel, one)) for one in class_questions.grpc()},
        }


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers."""
    with start_real_triton(write_repository(folder / "models"), folder / "log") as server:
        return answers(server)


def main() -> int:
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        text = json.dumps(record(Path(folder)), indent=1, ensure_ascii=False)
    (RECORDS / "classification.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
