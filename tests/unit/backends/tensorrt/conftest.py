"""Engines made on the spot, and the backend that serves them, on a stand-in of CUDA and TensorRT."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backends.tensorrt.cuda_standin import CudaStandIn
from tests.unit.backends.tensorrt.tensorrt_standin import make_tensorrt, plan

from atoll.backends.api import ModelSource, Placement
from atoll.backends.tensorrt import TensorRtBackend, backend
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.config.textproto import read_config_text
from atoll.devices import cuda_stream
from atoll.devices.cuda_driver import CudaDriver


class Engines:
    """Writes engines into a repository under the test's own folder, and loads them."""

    def __init__(self, root: Path, cuda: CudaStandIn, tensorrt: Any):
        self.root = root
        self.cuda = cuda
        self.tensorrt = tensorrt
        self.backend = TensorRtBackend()

    def write(self, config: str = "", *, settings: Mapping[str, str] | None = None, **content: Any) -> ModelSource:
        return self.file(plan(**content), config, settings=settings)

    def file(self, content: bytes, config: str = "", *, settings: Mapping[str, str] | None = None) -> ModelSource:
        folder = self.root / "m" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.plan").write_bytes(content)
        return self.source(config, settings)

    def source(self, config: str = "", settings: Mapping[str, str] | None = None) -> ModelSource:
        folder = self.root / "m"
        return ModelSource("m", 1, folder, folder / "1", configuration(config), settings or {})

    def instance(self, source: ModelSource, name: str = "m_0_0_gpu0", device: int = 0) -> Any:
        return self.backend.load(source).instance(Placement(name, "KIND_GPU", device))


def configuration(text: str) -> ModelConfig:
    group = "" if "instance_group" in text else ' instance_group { name: "m_0" kind: KIND_GPU count: 1 gpus: [ 0 ] }'
    return read_config_text(f'name: "m" backend: "tensorrt" {text}{group}', "config.pbtxt")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaStandIn:
    stand_in = CudaStandIn()
    driver = CudaDriver(stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(cuda_stream, "cuda_driver", lambda: driver)
    return stand_in


@pytest.fixture
def engines(tmp_path: Path, cuda: CudaStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    module = make_tensorrt(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(backend, "visible_gpus", lambda environment: tuple(range(cuda.devices)))
    yield Engines(tmp_path, cuda, module)
    assert not cuda.current, "a context is still current on this thread"


__all__ = ["Engines", "ModelInstanceGroup"]
