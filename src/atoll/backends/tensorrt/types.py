"""TensorRT's names of types, and the protocol's data types for them."""

from atoll.tensor import DataType

_TYPES = {
    "FLOAT": DataType.FP32,
    "HALF": DataType.FP16,
    "BF16": DataType.BF16,
    "INT8": DataType.INT8,
    "INT32": DataType.INT32,
    "INT64": DataType.INT64,
    "BOOL": DataType.BOOL,
    "UINT8": DataType.UINT8,
}


def data_type_of(name: str) -> DataType | None:
    """Of a member of tensorrt.DataType, by its name; None for those that the protocol has none for (FP8, INT4...)."""
    return _TYPES.get(name)
