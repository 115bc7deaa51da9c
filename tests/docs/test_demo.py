"""The demo, as `scripts/demo` runs it: every framework that is installed here, or those that are left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples.catalogue import OTHERS, REFERENCES, DigitModel

EXAMPLES = Path(__file__).parents[2] / "examples"
STATED = json.loads((EXAMPLES / "accuracy.json").read_text())
PORTS = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]


def demo(**environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(EXAMPLES / "demo.py"), *PORTS]
    settings = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=settings)


def line_of(model: DigitModel, output: str) -> str:
    """Its line in the table, blanks made one."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"  {model.name} ") and " of 360" in line]
    return " ".join(line.split())


def test_the_demo_prints_answers_and_ends_in_a_pipe() -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada!" in done.stdout
    assert "digits_cnn: a 5" in done.stdout
    for model in (*REFERENCES, *(model for model in OTHERS if model.installed)):
        whose = model.weights_of or model.name
        assert f"{model.framework} {STATED[whose]['correct']} of 360" in line_of(model, done.stdout)
    assert ("Not installed here" in done.stdout) == any(not model.installed for model in OTHERS)


@pytest.mark.skipif(not OTHERS[-1].installed, reason="needs one framework that can be hidden")
def test_what_is_not_installed_is_left_out_and_named(tmp_path: Path) -> None:
    # A finder that comes first, in the demo and in the server that it starts: these modules are not there.
    hidden = sorted({module for model in OTHERS[:-1] for module in model.modules} - {"sklearn", "skops"})
    (tmp_path / "sitecustomize.py").write_text(
        f"import importlib.machinery, sys\n"
        f"class Hidden(importlib.machinery.PathFinder):\n"
        f"    @classmethod\n"
        f"    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name in {hidden} else super().find_spec(name, path, target)\n"
        f"sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Hidden\n"
    )
    done = demo(PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Not installed here:")]
    assert "PyTorch, TensorFlow, OpenVINO, JAX, XGBoost." in line
    assert "pip install 'atoll[pytorch,tensorflow,openvino,jax,tabular]'" in line
    assert line_of(OTHERS[-1], done.stdout)
    assert OTHERS[0].name not in done.stdout
