"""ONNX Runtime's backend passes the suite that every backend passes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.testing.backend_contract import BackendContract, ModelFiles

ELEMENTS = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BYTES": "STRING", "BF16": "BFLOAT16"}


def write(folder: Path, nodes: list[str], datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
    """A model of nodes such as "Add A B SUM", whose tensors are all of one type and shape."""
    steps = [helper.make_node(kind, names[:-1], names[-1:]) for kind, *names in (node.split() for node in nodes)]
    shape = [*(["batch"] if batching else []), *(f"d{i}" if dim < 0 else dim for i, dim in enumerate(dims))]
    element = getattr(TensorProto, ELEMENTS.get(datatype, datatype))

    def values(names: list[str]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, element, shape) for name in names]

    inputs, outputs = list(steps[0].input), [step.output[0] for step in steps]
    graph = helper.make_graph(steps, "m", values(inputs), values(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return ModelFiles(tuple(inputs), tuple(outputs))


class TestOnnxRuntime(BackendContract):
    backend = OnnxRuntimeBackend
    runtime_modules = ("onnxruntime",)

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        return write(folder, ["Identity IN OUT"], datatype, dims, batching)

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        return write(folder, ["Add A B SUM", "Sub A B DIFFERENCE"], "FP32", (4,), batching)
