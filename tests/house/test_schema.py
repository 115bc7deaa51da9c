"""The committed descriptors are what the .proto files compile to; scripts/protos makes them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "src" / "atoll").rglob("*.proto"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert find_spec("grpc_tools") is not None, "install grpcio-tools"
    folder = tmp_path_factory.mktemp("protos")
    command = [ROOT / "scripts" / "protos", folder]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}, timeout=120)
    return folder


def test_there_are_schemas() -> None:
    assert ROOT / "src/atoll/config/schema/model_config.proto" in SCHEMAS


@pytest.mark.parametrize("source", SCHEMAS, ids=lambda path: path.name)
def test_the_committed_descriptors_are_current(source: Path, compiled: Path) -> None:
    committed = FileDescriptorSet.FromString(source.with_suffix(".binpb").read_bytes())
    fresh = FileDescriptorSet.FromString((compiled / source.name).with_suffix(".binpb").read_bytes())
    assert committed == fresh, f"{source.name} has changed: run scripts/protos and commit the result"
