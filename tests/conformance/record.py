"""Asks the real server every question and writes its answers down: python -m tests.conformance.record

The tests compare Atoll with these records everywhere, and the records with the real server where that can be installed.
"""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conformance import comparing, grpc_questions, metrics
from tests.conformance.models import write_python_repository
from tests.conformance.process import REAL_TRITON, ServerProcess, start_real_triton
from tests.conformance.questions import Question, every
from tests.conformance.recording import write_each
from tests.conformance.wire import Exchange

KEPT_HEADERS = ("content-type", "inference-header-content-length")


def ask_http(server: ServerProcess, question: Question) -> Exchange:
    return server.exchange(question.method, question.path, body=question.body, headers=question.headers)


def as_record(answer: Exchange) -> dict[str, Any]:
    """What is kept of an answer: status, the headers that say what the body is, and the body."""
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    try:
        return {"status": answer.status, "headers": headers, "body": answer.body.decode()}
    except UnicodeDecodeError:
        return {"status": answer.status, "headers": headers, "base64": base64.b64encode(answer.body).decode()}


def record(folder: Path) -> dict[str, dict[str, Any]]:
    """The real server's answers to all questions, by protocol and question, and its options."""
    with start_real_triton(write_python_repository(folder / "models"), folder / "log") as server:
        return {**record_all(server), "options": options()}


def record_all(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """A server's."""
    http = {question.name: as_record(ask_http(server, question)) for question in every() if not question.deadly}
    grpc = {name: comparing.normal(answer) for name, answer in grpc_questions.ask_all(server.grpc).items()}
    return {"http": http, "grpc": grpc, "metrics": metric_families(server)}


def metric_families(server: ServerProcess) -> dict[str, Any]:
    """Of each family on the metrics page: its type, its help text and the names of its labels."""
    found = metrics.families(server)
    return {
        name: {
            "type": family.type,
            "help": family.documentation,
            "labels": sorted({label for sample in family.samples for label in sample.labels}),
        }
        for name, family in sorted(found.items())
    }


def options() -> dict[str, str]:
    """The real server's command-line options, and the kind of value of each, as its help shows them."""
    command = [str(REAL_TRITON), "--help"]
    text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    return dict(re.findall(r"^\s+--([a-z0-9-]+)(?: (<.+>))?$", text, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(write_each(record))
