"""Models that return something else than their configuration says, which shows only when they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper
from openvino import opset13 as op
from tests.backends.bad_input.model_files import Frail

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")

# Both answer rows of any length as they are; TWICE answers each row two times.


def write_onnx(folder: Path, twice: bool) -> str:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, "n"]) for name, rows in NAMES]
    node = helper.make_node("Concat", ["PIXELS", "PIXELS"], ["PROBABILITIES"], axis=0)
    if not twice:
        node = helper.make_node("Identity", ["PIXELS"], ["PROBABILITIES"])
    graph = helper.make_graph([node], "m", values[:1], values[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    return "onnxruntime"


NAMES = (("PIXELS", "a"), ("PROBABILITIES", "b"))


def write_openvino(folder: Path, twice: bool) -> str:
    x = op.parameter([-1, -1], ov.Type.f32, name="PIXELS")
    x.output(0).set_names({"PIXELS"})
    y = op.concat([x, x], 0) if twice else op.relu(x)
    y.output(0).set_names({"PROBABILITIES"})
    ov.save_model(ov.Model([op.result(y)], [x], "m"), folder / "model.xml")
    return "openvino"


class _Same(torch.nn.Module):
    def forward(self, PIXELS: torch.Tensor) -> torch.Tensor:  # noqa: N803
        return PIXELS


class _Twice(torch.nn.Module):
    def forward(self, PIXELS: torch.Tensor) -> torch.Tensor:  # noqa: N803
        return torch.cat([PIXELS, PIXELS])


def write_torchscript(folder: Path, twice: bool) -> str:
    example = (torch.zeros(2, 3),)
    torch.jit.trace(_Twice() if twice else _Same(), example).save(folder / "model.pt")
    return "pytorch"


WRITERS: list[Callable[[Path, bool], str]] = [write_onnx, write_openvino, write_torchscript]


def load(frail: Frail, writer: Callable[[Path, bool], str], twice: bool) -> str:
    model, folder = frail.folder()
    output = "OUTPUT__0" if writer is write_torchscript else "PROBABILITIES"
    config = [
        f'backend: "{writer(folder, twice)}"',
        "max_batch_size: 8",
        'input [{name: "PIXELS", data_type: TYPE_FP32, dims: [-1]}]',
        f'output [{{name: "{output}", data_type: TYPE_FP32, dims: [3]}}]',
    ]
    (folder.parent / "config.pbtxt").write_text("\n".join(config))
    assert frail.load(model) == ""
    return model


def rows(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("writer", WRITERS)
def test_an_output_of_another_shape(frail: Frail, writer: Callable[[Path, bool], str]) -> None:
    model = load(frail, writer, twice=False)
    for _ in range(2):
        _, error = frail.answer(model, rows(2, 4))
        assert model in error
        assert "[4]" in error, error
        assert "[3]" in error, error
        found, error = frail.answer(model, rows(2, 3))
        assert error == ""
        np.testing.assert_array_equal(found, rows(2, 3))
    frail.serves()


@pytest.mark.parametrize("writer", WRITERS)
def test_more_rows_than_the_batch_has(frail: Frail, writer: Callable[[Path, bool], str]) -> None:
    model = load(frail, writer, twice=True)
    _, error = frail.answer(model, rows(2, 3))
    assert model in error
    assert "4" in error, error
    assert "2" in error, error
    frail.serves()
