"""ONNX Runtime's names of types, and the protocol's data types for them."""

import re

from atoll.tensor import DataType

BFLOAT16 = 16  # TensorProto.DataType of ONNX: how a uint16 array is declared to hold BF16

_TENSOR = re.compile(r"(optional\()?tensor\((\w+)\)\)?")
_ELEMENTS = {
    "bool": DataType.BOOL,
    "uint8": DataType.UINT8,
    "uint16": DataType.UINT16,
    "uint32": DataType.UINT32,
    "uint64": DataType.UINT64,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float16": DataType.FP16,
    "float": DataType.FP32,
    "double": DataType.FP64,
    "string": DataType.BYTES,
    "bfloat16": DataType.BF16,
}


def data_type_of(onnx_type: str) -> DataType | None:
    """The data type of "tensor(float)" or "optional(tensor(float))"; None where the protocol has none for it.

    It has none for sequences, maps and sparse tensors, nor for 4-bit and 8-bit floats and complex numbers.
    """
    found = _TENSOR.fullmatch(onnx_type)
    return _ELEMENTS.get(found[2]) if found else None


def is_optional(onnx_type: str) -> bool:
    """Whether the graph itself can do without this input."""
    return onnx_type.startswith("optional(")
