"""TensorFlow's numbers of element types, and the protocol's data types for them."""

from atoll.tensor import DataType

# Of tensorflow/core/framework/types.proto. The protocol has nothing for complex and quantized numbers, 4-bit and 8-bit
# floats, resources and variants.
_DATA_TYPES = {
    1: DataType.FP32,
    2: DataType.FP64,
    3: DataType.INT32,
    4: DataType.UINT8,
    5: DataType.INT16,
    6: DataType.INT8,
    7: DataType.BYTES,
    9: DataType.INT64,
    10: DataType.BOOL,
    14: DataType.BF16,
    17: DataType.UINT16,
    19: DataType.FP16,
    22: DataType.UINT32,
    23: DataType.UINT64,
}


def data_type_of(number: int) -> DataType | None:
    """The data type of DT_FLOAT and the like, by its number; None where the protocol has none for it."""
    return _DATA_TYPES.get(number)
