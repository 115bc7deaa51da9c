"""The demo, as `scripts/demo` runs it."""

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_demo_prints_answers_and_ends_in_a_pipe() -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--http-port=0", "--grpc-port=0", "--metrics-port=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada!" in done.stdout
    for name, figures in json.loads((EXAMPLES / "accuracy.json").read_text()).items():
        assert f"{name}: a 5" in done.stdout
        assert f"Of {figures['held_back']} such digits {figures['correct']} are right" in done.stdout
