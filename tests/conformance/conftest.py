"""The servers that the conformance tests talk to: Atoll always, the real Triton where it can be installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.asking_again import skip_without_real_server
from tests.conformance.gated import GatedServer, start_gated
from tests.conformance.models import write_onnx_repository, write_python_repository
from tests.conformance.process import ServerProcess, start_atoll, start_real_triton

# The name by which a server introduces itself is an option of both.
SAME_NAME = "--id=triton"


@pytest.fixture(scope="session")
def onnx_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx_repository(tmp_path_factory.mktemp("onnx") / "models")


@pytest.fixture(scope="session")
def atoll(onnx_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as they found it."""
    log = tmp_path_factory.mktemp("atoll") / "log"
    with start_atoll(onnx_repository, log, SAME_NAME) as server:
        yield server


@pytest.fixture(scope="session")
def real_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server over the same models, written in Python."""
    skip_without_real_server()
    folder = tmp_path_factory.mktemp("real-triton")
    with start_real_triton(write_python_repository(folder / "models"), folder / "log") as server:
        yield server


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedServer]:
    """A server whose models wait for as long as a test wants."""
    with start_gated(tmp_path_factory.mktemp("gated")) as server:
        yield server
