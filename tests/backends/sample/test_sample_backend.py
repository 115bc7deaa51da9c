"""A backend from somebody else's package: found by its entry point, served, and right by the suite."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.backends.sample.conftest import PACKAGE
from tests.backends.served import Serve

from atoll.tensor import BY_PROTOCOL_NAME
from atoll.testing.backend_contract import FEATURES

CODE = PACKAGE / "atoll_arithmetic" / "__init__.py"
PAGE = (PACKAGE.parents[3] / "docs" / "backends.md").read_text()


def repository(folder: Path) -> Path:
    """With the model that the page shows."""
    model = re.search(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert model
    version = folder / "models" / "total" / "1"
    version.mkdir(parents=True)
    (version / "model.arithmetic").write_text(model[1])
    (version.parent / "config.pbtxt").write_text('backend: "arithmetic"\n')
    return folder / "models"


def test_a_served_model_of_it(tmp_path: Path, sample_environment: dict[str, str], serve: Serve) -> None:
    server = serve(repository(tmp_path), env=sample_environment)
    config = server.get("/v2/models/total/config")
    assert config["backend"] == "arithmetic"
    assert config["max_batch_size"] == 4
    assert [one["name"] for one in config["input"]] == ["A", "B"]
    body = re.search(r"-d '(.*?)'", PAGE, re.DOTALL)
    assert body
    answer = server.post("/v2/models/total/infer", json.loads(body[1]))
    assert f"\n{json.dumps(answer, separators=(',', ':'))}\n" in PAGE


def test_a_wrong_model_of_it_is_refused(tmp_path: Path, sample_environment: dict[str, str]) -> None:
    path = repository(tmp_path) / "total" / "1" / "model.arithmetic"
    path.write_text(path.read_text().replace('"add"', '"divide"'))
    command = [sys.executable, "-m", "atoll", "validate", str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=sample_environment, check=False)
    assert done.returncode != 0
    assert f"cannot read '{path}': KeyError: 'divide'" in done.stdout + done.stderr


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
    assert f"\n{(PACKAGE / file).read_text()}```" in PAGE, f"docs/backends.md shows another {file}"


def test_the_page_lists_the_features() -> None:
    listed = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    expected = {name: text for name, text in FEATURES.items() if name not in BY_PROTOCOL_NAME}
    assert {name: listed.get(name) for name in expected} == expected
    assert not listed.keys() & BY_PROTOCOL_NAME.keys()
