"""Asks the real server every question and writes its answers down: python -m tests.conformance.record

The tests compare Atoll with these records everywhere, and the records with the real server where that can be installed.
"""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conformance import comparing, grpc_questions, metrics
from tests.conformance.models import write_python_repository
from tests.conformance.process import REAL_TRITON, ServerProcess, install_real_triton, start_real_triton
from tests.conformance.questions import Question, every
from tests.conformance.wire import Exchange

RECORDS = Path(__file__).parent / "recorded"
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


def read_record(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return document


def record_all(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """The answers to all questions, by protocol and question."""
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


def main() -> int:
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    RECORDS.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        repository = write_python_repository(Path(folder) / "models")
        with start_real_triton(repository, Path(folder) / "log") as server:
            for name, answers in {**record_all(server), "options": options()}.items():
                text = json.dumps(answers, indent=1, ensure_ascii=False)
                (RECORDS / f"{name}.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
