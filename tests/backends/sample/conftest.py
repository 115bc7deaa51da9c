"""The sample package, installed into a folder of its own as pip would install anybody's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

collect_ignore = ["package"]  # its own tests need it installed, and run in a process of theirs
PACKAGE = Path(__file__).parent / "package"


@pytest.fixture(scope="session")
def sample_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables with which Python finds the installed sample."""
    sources = tmp_path_factory.mktemp("sources") / "package"  # a build leaves files beside what it builds
    shutil.copytree(PACKAGE, sources)
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(target)}
