"""The ONNX files behind the conformance tests' models, built node by node."""

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

ELEMENT_TYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "fp16": TensorProto.FLOAT16,
    "fp32": TensorProto.FLOAT,
    "fp64": TensorProto.DOUBLE,
    "bytes": TensorProto.STRING,
    "bf16": TensorProto.BFLOAT16,
}

Shape = Sequence[int | str]


def identity_model(data_type: str, shape: Shape) -> bytes:
    """OUTPUT0 = INPUT0."""
    element = ELEMENT_TYPES[data_type]
    return _model(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        [helper.make_tensor_value_info("INPUT0", element, shape)],
        [helper.make_tensor_value_info("OUTPUT0", element, shape)],
    )


def sum_and_difference_model(shape: Shape) -> bytes:
    """OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1, all INT32."""
    int32 = TensorProto.INT32
    return _model(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [helper.make_tensor_value_info(f"INPUT{i}", int32, shape) for i in (0, 1)],
        [helper.make_tensor_value_info(f"OUTPUT{i}", int32, shape) for i in (0, 1)],
    )


def failing_model(length: int) -> bytes:
    """INT32[length] in; the run fails, as the input's values index a table of one element."""
    int32 = TensorProto.INT32
    table = numpy_helper.from_array(np.zeros(1, np.int32), "table")
    return _model(
        [helper.make_node("Gather", ["table", "INPUT0"], ["OUTPUT0"])],
        [helper.make_tensor_value_info("INPUT0", int32, [length])],
        [helper.make_tensor_value_info("OUTPUT0", int32, [length])],
        [table],
    )


def _model(
    nodes: list[object], inputs: list[object], outputs: list[object], constants: Sequence[TensorProto] = ()
) -> bytes:
    graph: GraphProto = helper.make_graph(nodes, "model", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data
