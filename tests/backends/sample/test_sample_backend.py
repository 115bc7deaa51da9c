"""A backend from somebody else's package: found by its entry point, served, and right by the suite."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.backends.sample.conftest import PACKAGE
from tests.backends.served import Serve

CODE = PACKAGE / "atoll_arithmetic" / "__init__.py"


def repository(folder: Path) -> Path:
    version = folder / "models" / "total" / "1"
    version.mkdir(parents=True)
    outputs = {"SUM": ["add", "A", "B"]}
    document = {"datatype": "FP32", "shape": [-1, 2], "inputs": ["A", "B"], "outputs": outputs}
    (version / "model.arithmetic").write_text(json.dumps(document))
    (version.parent / "config.pbtxt").write_text('backend: "arithmetic"\n')
    return folder / "models"


def test_a_served_model_of_it(tmp_path: Path, sample_environment: dict[str, str], serve: Serve) -> None:
    server = serve(repository(tmp_path), env=sample_environment)
    config = server.get("/v2/models/total/config")
    assert config["backend"] == "arithmetic"
    assert config["max_batch_size"] == 4
    assert [one["name"] for one in config["input"]] == ["A", "B"]
    inputs = [{"name": name, "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]} for name in ("A", "B")]
    answer = server.post("/v2/models/total/infer", {"inputs": inputs})
    assert answer["outputs"] == [{"name": "SUM", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 8]}]


def test_it_is_not_there_without_its_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "atoll", "validate", str(repository(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "backend 'arithmetic'" in done.stdout + done.stderr


def test_it_passes_the_suite(tmp_path: Path, sample_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(PACKAGE / "tests")]
    command += ["--rootdir", str(tmp_path), f"--basetemp={tmp_path / 'work'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=sample_environment, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "left out here to show how" in done.stdout
    assert " passed" in done.stdout


def test_it_is_short() -> None:
    lines = CODE.read_text().splitlines()
    assert len(lines) < 60


@pytest.mark.parametrize("file", ["pyproject.toml", "atoll_arithmetic/__init__.py", "tests/test_arithmetic.py"])
def test_the_page_shows_the_sample(file: str) -> None:
    page = (PACKAGE.parents[3] / "docs" / "backends.md").read_text()
    assert f"\n{(PACKAGE / file).read_text()}```" in page, f"docs/backends.md shows another {file}"
