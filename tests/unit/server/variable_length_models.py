"""ONNX models whose requests differ in length: one over a ragged batch, one over a padded batch with a mask."""

from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

WAIT = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 10000000 }"

RAGGED = f"""
backend: "onnxruntime"
max_batch_size: 4
input [ {{ name: "VALUES" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }} ]
output [
  {{ name: "SUM" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "DOUBLED" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "LARGEST" data_type: TYPE_INT64 dims: [ 1 ] }}
]
batch_input [
  {{ kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO
     target_name: "BOUNDS" data_type: TYPE_INT32 source_input: "VALUES" }},
  {{ kind: BATCH_ELEMENT_COUNT target_name: "COUNTS" data_type: TYPE_FP32 source_input: "VALUES" }},
  {{ kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE target_name: "MOST" data_type: TYPE_INT32 source_input: "VALUES" }}
]
batch_output [ {{ target_name: "DOUBLED" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "VALUES" }} ]
instance_group [ {{ count: 1 }} ]
{WAIT}
"""

PADDED = """
backend: "onnxruntime"
max_batch_size: 4
input [ { name: "TOKENS" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [
  { name: "MEAN" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "EMBEDDED" data_type: TYPE_FP32 dims: [ -1, 2 ] },
  { name: "SEEN" data_type: TYPE_INT64 dims: [ 1 ] }
]
instance_group [ { count: 1 } ]
%s
parameters { key: "padding" value { string_value: '%s' } }
"""
PADDING = (
    '{"inputs": {"TOKENS": {"value": 1, "mask": {"name": "MASK", "data_type": "TYPE_FP32"}, "length": "LENGTHS"}},'
    ' "outputs": {"EMBEDDED": "TOKENS"}%s}'
)
EMBEDDINGS = np.array([[0, 1], [100, 100], [2, 3], [4, 5], [6, 7]], np.float32)  # 1 is what is padded with


def ragged_model() -> bytes:
    """SUM of each request's VALUES [elements], DOUBLED [elements], LARGEST: the most elements that a request has."""
    node = helper.make_node
    nodes = [
        node("CumSum", ["VALUES", "axis"], ["sums"]),
        node("Concat", ["zero_f", "sums"], ["from_zero"], axis=0),
        node("Gather", ["from_zero", "BOUNDS"], ["at_bounds"]),
        node("Slice", ["at_bounds", "one", "end"], ["ends"]),
        node("Slice", ["at_bounds", "zero", "minus_one"], ["starts"]),
        node("Sub", ["ends", "starts"], ["differences"]),
        node("Unsqueeze", ["differences", "one"], ["SUM"]),
        node("Add", ["VALUES", "VALUES"], ["DOUBLED"]),
        node("Shape", ["MOST"], ["most"]),
        node("Shape", ["COUNTS"], ["requests"]),
        node("Expand", ["most", "requests"], ["each"]),
        node("Unsqueeze", ["each", "one"], ["LARGEST"]),
    ]
    inputs = [
        _value("VALUES", TensorProto.FLOAT, ["elements"]),
        _value("BOUNDS", TensorProto.INT32, ["bounds"]),
        _value("COUNTS", TensorProto.FLOAT, ["requests"]),
        _value("MOST", TensorProto.INT32, ["most_elements"]),
    ]
    outputs = [
        _value("SUM", TensorProto.FLOAT, ["requests", 1]),
        _value("DOUBLED", TensorProto.FLOAT, ["elements"]),
        _value("LARGEST", TensorProto.INT64, ["requests", 1]),
    ]
    return _model(nodes, inputs, outputs)


def padded_model() -> bytes:
    """EMBEDDED [batch, length, 2] of TOKENS, their MEAN where MASK is 1, and SEEN: the padded length, and LENGTHS."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "TOKENS"], ["EMBEDDED"]),
        node("Unsqueeze", ["MASK", "two"], ["weights"]),
        node("Mul", ["EMBEDDED", "weights"], ["kept"]),
        node("ReduceSum", ["kept", "one"], ["total"], keepdims=0),
        node("Cast", ["LENGTHS"], ["lengths_f"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["lengths_f", "one"], ["divisor"]),
        node("Div", ["total", "divisor"], ["MEAN"]),
        node("Shape", ["TOKENS"], ["shape"]),
        node("Slice", ["shape", "one", "two"], ["length"]),
        node("Mul", ["LENGTHS", "zero"], ["nothing"]),
        node("Add", ["nothing", "length"], ["each"]),
        node("Unsqueeze", ["each", "one"], ["SEEN"]),
    ]
    inputs = [
        _value("TOKENS", TensorProto.INT64, ["batch", "length"]),
        _value("MASK", TensorProto.FLOAT, ["batch", "length"]),
        _value("LENGTHS", TensorProto.INT64, ["batch"]),
    ]
    outputs = [
        _value("MEAN", TensorProto.FLOAT, ["batch", 2]),
        _value("EMBEDDED", TensorProto.FLOAT, ["batch", "length", 2]),
        _value("SEEN", TensorProto.INT64, ["batch", 1]),
    ]
    return _model(nodes, inputs, outputs)


def write(repository: Path, name: str, model: bytes, config: str) -> None:
    """The model's folder, with one version."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (repository / name / "config.pbtxt").write_text(config)


def _value(name: str, kind: int, shape: list[str | int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes: list[NodeProto], inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> bytes:
    constants = [
        numpy_helper.from_array(np.array(0, np.int64), "axis"),
        numpy_helper.from_array(np.array([0], np.float32), "zero_f"),
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([2], np.int64), "two"),
        numpy_helper.from_array(np.array([-1], np.int64), "minus_one"),
        numpy_helper.from_array(np.array([1 << 40], np.int64), "end"),
        numpy_helper.from_array(EMBEDDINGS, "table"),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(nodes, "m", inputs, outputs, [one for one in constants if one.name in used])
    opset = [helper.make_opsetid("", 17)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return data
