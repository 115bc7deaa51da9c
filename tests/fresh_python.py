"""Code that needs a Python of its own: nothing is imported there yet, and what it does to its process ends with it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from textwrap import dedent

TIMEOUT_S = 300  # importing a framework takes seconds, on a machine that has other work


def run_code(code: str, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """What it printed, to both streams, once it ended well. `env` is added to the variables that are set here."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(code), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # a library may print what it has found in a damaged file
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done
