"""The suite of all backends, on the stand-ins. It puts instances on the CPU, which are taken as being on GPU 0 here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backends.tensorrt.conftest import Engines
from tests.unit.backends.tensorrt.tensorrt_standin import plan

from atoll.backends import registry
from atoll.backends.api import GpuSupport, ModelSource, Placement
from atoll.backends.tensorrt import TensorRtBackend
from atoll.backends.tensorrt.backend import TensorRtModel
from atoll.config.model_config import ModelInstanceGroup
from atoll.testing.backend_contract import BackendContract, ModelFiles

NAMES = {
    "FP32": "FLOAT",
    "FP16": "HALF",
    "BF16": "BF16",
    "INT8": "INT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "BOOL": "BOOL",
    "UINT8": "UINT8",
}
LACKING = ("UINT16", "UINT32", "UINT64", "INT16", "FP64", "BYTES")
MOST = 1 << 20


class OnGpu0(TensorRtBackend):
    """Whatever a placement says."""

    def load(self, source: ModelSource) -> Any:
        model = super().load(source)
        model.check(ModelInstanceGroup(name="m_0"), 0)
        return OnGpu0Model(model)

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        return GpuSupport()


class OnGpu0Model:
    def __init__(self, model: TensorRtModel):
        self._model = model
        self.close = model.close

    def instance(self, placement: Placement) -> Any:
        return self._model.instance(replace(placement, kind="KIND_GPU", device_id=0))


class TestTensorRtContract(BackendContract):
    backend = OnGpu0
    runtime_modules = ("tensorrt",)
    cannot = {
        **dict.fromkeys(LACKING, "TensorRT has no such type"),
        "isolation": "another process has none of the stand-ins",
    }

    def test_loading_again_and_again_takes_no_more_memory(self) -> None:  # type: ignore[override]
        pytest.skip("another process has none of the stand-ins; test_trt_execution.py counts what is left")

    @pytest.fixture(autouse=True)
    def _on_stand_ins(self, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
        engines.cuda.free_bytes = 1 << 30
        monkeypatch.setitem(registry._made, "tensorrt", OnGpu0())

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        _write(folder, "same", NAMES[datatype], ("IN",), ("OUT",), dims, batching)
        return ModelFiles(("IN",), ("OUT",))

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        _write(folder, "add", "FLOAT", ("A", "B"), ("SUM", "DIFFERENCE"), (4,), batching)
        return ModelFiles(("A", "B"), ("SUM", "DIFFERENCE"))


def _write(
    folder: Path,
    operation: str,
    type_name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    dims: tuple[int, ...],
    batching: bool,
) -> None:
    shape = [-1, *dims] if batching else list(dims)
    ranges = [[least if dim < 0 else dim for dim in shape] for least in (0, 1, MOST)]
    content = plan(
        operation=operation,
        inputs=dict.fromkeys(inputs, (type_name, shape)),
        outputs=dict.fromkeys(outputs, (type_name, shape)),
        profiles=[dict.fromkeys(inputs, ranges)],
    )
    (folder / "model.plan").write_bytes(content)
