"""Models made on the spot, and the backend that serves them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from atoll.backends.api import ModelSource, Placement
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.model_config import ModelConfig, ModelParameter

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}


class OnnxModels:
    """Writes models into a repository under the test's own folder, and loads them."""

    def __init__(self, root: Path):
        self.root = root
        self.backend = OnnxRuntimeBackend()

    def value(self, name: str, datatype: str, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], shape)

    def write(
        self,
        nodes: list[onnx.NodeProto],
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        initializers: list[onnx.TensorProto] | None = None,
        *,
        name: str = "m",
        opset: int = 17,
        ir_version: int = 8,
        domains: Sequence[str] = (),
    ) -> ModelSource:
        graph = helper.make_graph(nodes, name, inputs, outputs, initializers or [])
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = ir_version
        return self.file(model.SerializeToString(), name=name)

    def file(self, content: bytes, *, name: str = "m", filename: str = "model.onnx") -> ModelSource:
        path = self.root / name / "1" / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self.source(name)

    def source(self, name: str = "m", **config: Any) -> ModelSource:
        directory = self.root / name
        (directory / "1").mkdir(parents=True, exist_ok=True)
        return ModelSource(
            name=name,
            version=1,
            model_directory=directory,
            version_directory=directory / "1",
            config=ModelConfig(name=name, backend="onnxruntime", **config),
        )

    def identity(self, datatype: str, shape: list[int | str | None] | None = None) -> ModelSource:
        shape = ["batch", 2] if shape is None else shape
        return self.write(
            [helper.make_node("Identity", ["IN"], ["OUT"])],
            [self.value("IN", datatype, shape)],
            [self.value("OUT", datatype, shape)],
        )

    def instance(self, source: ModelSource) -> Any:
        return self.backend.load(source).instance(Placement(name="m_0"))


@pytest.fixture
def models(tmp_path: Path) -> OnnxModels:
    return OnnxModels(tmp_path)


@pytest.fixture
def configured() -> Callable[..., ModelSource]:
    """A source with these parameters and settings of the backend."""

    def with_parameters(
        source: ModelSource, parameters: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None
    ) -> ModelSource:
        records = {key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()}
        config = replace(source.config, parameters=records)
        return replace(source, config=config, settings=settings or {})

    return with_parameters
