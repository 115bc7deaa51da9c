"""Asks the real server as hosting services do: python -m tests.conformance.hosting.record_hosting"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.hosting.hosted import answers
from tests.conformance.hosting.hosting_questions import SERVERS
from tests.conformance.recording import write_down


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers, by the kind of server and the question."""
    return {kind: answers(folder / kind, kind, real=True) for kind in SERVERS}


if __name__ == "__main__":
    sys.exit(write_down(record, "hosting"))
