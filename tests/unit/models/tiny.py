"""Models of one multiplication: OUT = IN * factor, so that an answer tells which one gave it."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def scale_model(factor: float, *, weight_bytes: int = 0, input_name: str = "IN") -> bytes:
    """FP32[-1, 2] in and out; `weight_bytes` more of constants that take part in the result as zeros."""
    rows = max(weight_bytes // 8, 1)
    weights = np.zeros((rows, 2), np.float32)
    if weight_bytes:
        weights[:] = np.random.default_rng(0).random((1, 2), np.float32)  # nothing that can be shared or packed
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["weights", "axes"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Mul", [input_name, "factor"], ["scaled"]),
            helper.make_node("Add", ["scaled", "nothing"], ["OUT"]),
        ],
        "scale",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("OUT", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([0], np.int64), "axes"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(factor, np.float32), "factor"),
        ],
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
