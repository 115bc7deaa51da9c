"""What every recorder does: asks the real server, and writes down what it answers; and how that is read again."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conformance.process import install_real_triton

RECORDS = Path(__file__).parent / "recorded"


def read_record(name: str) -> dict[str, Any]:
    """What was written down under this name."""
    document: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return document


def write_down(record: Callable[[Path], Any], name: str) -> int:
    """`record` gets a folder for its servers. Returns the recorder's exit status: 1 where there is no real server."""
    return write_each(lambda folder: {name: record(folder)})


def write_each(record: Callable[[Path], Mapping[str, Any]]) -> int:
    """The same for a recorder of several records, by their names."""
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        documents = record(Path(folder))
    RECORDS.mkdir(exist_ok=True)
    for name, document in documents.items():
        (RECORDS / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0
