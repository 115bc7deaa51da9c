"""Models of one multiplication: OUT = IN * factor, so that an answer tells which one gave it."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def scale_model(factor: float, *, weight_bytes: int = 0, input_name: str = "IN") -> bytes:
    """FP32[-1, 2] in and out; `weight_bytes` more of constants, which every run multiplies with, and then with 0."""
    float32 = TensorProto.FLOAT
    nodes = [helper.make_node("Mul", [input_name, "factor"], ["scaled" if weight_bytes else "OUT"])]
    constants = [numpy_helper.from_array(np.array(factor, np.float32), "factor")]
    if weight_bytes:
        nodes += [
            helper.make_node("MatMul", [input_name, "weights"], ["products"]),
            helper.make_node("ReduceMax", ["products", "axes"], ["largest"], keepdims=1),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", ["scaled", "nothing"], ["OUT"]),
        ]
        constants += [
            numpy_helper.from_array(np.ones((2, weight_bytes // 8), np.float32), "weights"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ]
    graph = helper.make_graph(
        nodes,
        "scale",
        [helper.make_tensor_value_info(input_name, float32, ["batch", 2])],
        [helper.make_tensor_value_info("OUT", float32, ["batch", 2])],
        constants,
    )
    opset = [helper.make_opsetid("", 18)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return data


def write_model(
    repository: Path, name: str, factor: float, *, version: int = 1, config: str | None = None, weight_bytes: int = 0
) -> Path:
    """A version of a model in a repository; returns the model's folder."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "model.onnx", scale_model(factor, weight_bytes=weight_bytes))
    if config is not None:
        (repository / name / "config.pbtxt").write_text(config)
    return folder.parent


def replace_file(path: Path, content: bytes) -> None:
    """As a careful deployment does it: whole, or not at all."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(content)
    fresh.replace(path)
