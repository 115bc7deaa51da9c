"""Runs the script inside the real server: python -m tests.conformance.in_process.record_in_process"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conformance.recording import write_down

REAL_HOME = Path(os.environ.get("ORACLE_HOME", Path.home() / ".cache" / "triton-oracle"))
"""Where benchmarks/real-triton unpacks it."""
SCRIPT = Path(__file__).parent / "script.py"


def record(folder: Path) -> Any:
    """What the script sees there."""
    environment = REAL_HOME / "venv"
    libraries = (REAL_HOME / "server").resolve().parents[1] / "nvidia_pytriton.libs"
    library = [environment / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    python = subprocess.run(library, capture_output=True, text=True, check=True).stdout.strip()
    variables = {
        **os.environ,
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",  # models run on the Python that is found first
        "LD_LIBRARY_PATH": f"{python}:{libraries}",
    }
    command = [str(environment / "bin" / "python"), str(SCRIPT), str(folder / "models")]
    done = subprocess.run(command, env=variables, capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(write_down(record, "in_process"))
