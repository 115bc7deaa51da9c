"""Writes the two example models that need no training: `simple` and `greet`.

Needs:   pip install onnx numpy
Run:     python examples/make_simple.py
Writes:  examples/models/<name>/1/model.onnx
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

MODELS = Path(__file__).parent / "models"
IR_VERSION, OPSET = 9, 20  # what onnxruntime 1.17 loads; StringConcat is new in opset 20


def tensor(name: str, element_type: int, *dims: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, ["batch", *dims])


def save(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> None:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="atoll-examples")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    path = MODELS / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    print(f"{path}: {path.stat().st_size} bytes")


def simple() -> None:
    """Triton's classic: two INT32[16] inputs, their sum and their difference."""
    save(
        "simple",
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [tensor("INPUT0", TensorProto.INT32, 16), tensor("INPUT1", TensorProto.INT32, 16)],
        [tensor("OUTPUT0", TensorProto.INT32, 16), tensor("OUTPUT1", TensorProto.INT32, 16)],
    )


def greet() -> None:
    """Text in, text out: "Ada" becomes "Hello, Ada!"."""
    save(
        "greet",
        [
            helper.make_node("StringConcat", ["before", "NAME"], ["begun"]),
            helper.make_node("StringConcat", ["begun", "after"], ["GREETING"]),
        ],
        [tensor("NAME", TensorProto.STRING, 1)],
        [tensor("GREETING", TensorProto.STRING, 1)],
        [
            numpy_helper.from_array(np.array("Hello, ", dtype=object), "before"),
            numpy_helper.from_array(np.array("!", dtype=object), "after"),
        ],
    )


if __name__ == "__main__":
    simple()
    greet()
