"""Triton's data types and numpy's, and the packed form of BYTES tensors, as the module's functions give them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from atoll.tensor import BY_CONFIG_NAME, BY_NUMBER, Array, DataType, pack_bytes

NUMPY_TYPES: dict[int, type[np.generic]] = {
    number: one.dtype.type for number, one in BY_NUMBER.items() if one not in (DataType.INVALID, DataType.BF16)
}
TRITON_STRING_TO_NUMPY: dict[str, type] = {
    name: bool if one is DataType.BOOL else one.dtype.type
    for name, one in BY_CONFIG_NAME.items()
    if one not in (DataType.INVALID, DataType.BF16)
}


def triton_to_numpy_type(data_type: int) -> type[np.generic] | None:
    """The numpy type of a data type's number in ModelConfig; None for BF16 and for numbers that are no type's."""
    return NUMPY_TYPES.get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """The number, in ModelConfig, of a numpy type or dtype's data type; None where there is none."""
    if not isinstance(data_type, np.dtype) and not (isinstance(data_type, type) and issubclass(data_type, np.generic)):
        return None
    dtype = np.dtype(data_type)
    if dtype == np.dtype(np.object_) or dtype.kind == "S":
        return DataType.BYTES.number
    for number, one in NUMPY_TYPES.items():
        if dtype == one:
            return number
    return None


def triton_string_to_numpy(triton_type_string: str) -> type:
    """The numpy type of a data type's name in a configuration, "TYPE_FP32". Raises KeyError where there is none."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


_LENGTH = struct.Struct("<I")


def serialize_byte_tensor(input_tensor: Array) -> bytes | tuple[()] | None:
    """The elements of an object or bytes array in C order, each after its length as a little-endian uint32.

    Elements that are not bytes go in as the UTF-8 of their `str`. An empty array gives `()`, an array of any other
    kind None, as the real function does.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype != np.object_ and input_tensor.dtype.type != np.bytes_:
        return None
    return pack_bytes(input_tensor)


def deserialize_bytes_tensor(encoded_tensor: bytes | bytearray | memoryview) -> Array:
    """The elements of a packed BYTES tensor as a one-dimensional object array of bytes.

    Raises struct.error where an element's length reaches past the end.
    """
    elements = []
    offset, end = 0, len(encoded_tensor)
    while offset < end:
        (length,) = _LENGTH.unpack_from(encoded_tensor, offset)
        offset += _LENGTH.size
        if end - offset < length:
            raise struct.error(f"an element of {length} bytes starts at byte {offset}, and there are {end} bytes")
        elements.append(bytes(encoded_tensor[offset : offset + length]))
        offset += length
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array
