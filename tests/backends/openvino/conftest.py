"""Small OpenVINO models made on the spot, and the backend that serves them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from atoll.backends.api import ModelSource, Placement
from atoll.backends.openvino import OpenVinoBackend
from atoll.config.model_config import ModelConfig, ModelInput, ModelParameter
from atoll.tensor import DataType


class OpenVinoModels:
    """Writes models into a repository under the test's own folder, and loads them."""

    def __init__(self, root: Path):
        self.root = root
        self.backend = OpenVinoBackend()

    def parameter(self, shape: Sequence[int], kind: str = "f32", name: str = "X") -> Any:
        node = op.parameter(ov.PartialShape(list(shape)), getattr(ov.Type, kind), name=name)
        node.output(0).set_names({name})
        return node

    def named(self, node: Any, name: str) -> Any:
        node.output(0).set_names({name})
        return node

    def write(self, outputs: Sequence[Any], inputs: Sequence[Any], name: str = "m") -> Path:
        """The model's file."""
        path = self.root / name / "1" / "model.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        ov.save_model(ov.Model([op.result(one) for one in outputs], list(inputs), name), path, compress_to_fp16=False)
        return path

    def source(self, name: str = "m", parameters: dict[str, str] | None = None, **config: Any) -> ModelSource:
        directory = self.root / name
        (directory / "1").mkdir(parents=True, exist_ok=True)
        records = {key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()}
        return ModelSource(
            name=name,
            version=1,
            model_directory=directory,
            version_directory=directory / "1",
            config=ModelConfig(name=name, backend="openvino", parameters=records, **config),
        )

    def dense(self, shape: Sequence[int] = (-1, 4), name: str = "m") -> Path:
        """Y = X times a matrix of ones of 4 by 3."""
        x = self.parameter(shape)
        product = op.matmul(x, op.constant(np.ones((4, 3), np.float32)), False, False)
        return self.write([self.named(product, "Y")], [x], name)

    def instance(self, source: ModelSource | None = None) -> Any:
        return self.backend.load(source or self.source()).instance(Placement(name="m_0"))


@pytest.fixture
def models(tmp_path: Path) -> OpenVinoModels:
    return OpenVinoModels(tmp_path)


@pytest.fixture
def fp32_input() -> Callable[..., ModelInput]:
    def make(name: str, *dims: int) -> ModelInput:
        return ModelInput(name=name, data_type=DataType.FP32, dims=dims)

    return make
