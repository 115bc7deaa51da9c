"""What every recorder does: asks the real server, and writes down what it answers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conformance.process import install_real_triton


def write_down(record: Callable[[Path], Any], file: Path) -> int:
    """`record` gets a folder for its servers. Returns the recorder's exit status: 1 where there is no real server."""
    reason = install_real_triton()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        text = json.dumps(record(Path(folder)), indent=1, ensure_ascii=False)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text + "\n")
    return 0
