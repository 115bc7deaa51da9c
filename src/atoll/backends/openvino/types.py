"""OpenVINO's element types, and the protocol's data types for them."""

from typing import Any

from atoll.tensor import DataType

_BY_NAME = {
    "boolean": DataType.BOOL,
    "u8": DataType.UINT8,
    "u16": DataType.UINT16,
    "u32": DataType.UINT32,
    "u64": DataType.UINT64,
    "i8": DataType.INT8,
    "i16": DataType.INT16,
    "i32": DataType.INT32,
    "i64": DataType.INT64,
    "f16": DataType.FP16,
    "f32": DataType.FP32,
    "f64": DataType.FP64,
    "string": DataType.BYTES,
    "bf16": DataType.BF16,
}


def data_type_of(element_type: Any) -> DataType | None:
    """The data type of an openvino.Type; None where the protocol has none for it.

    It has none for numbers of 1, 2 and 4 bits, for floats of 4 and 8 bits, and for a type that is open.
    """
    return _BY_NAME.get(element_type.get_type_name())
