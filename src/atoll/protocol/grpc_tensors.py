"""Tensors in gRPC messages that are not raw data: typed contents."""

from typing import Any, Final

import numpy as np

from atoll.errors import InvalidArgumentError
from atoll.protocol.integers import narrowed
from atoll.tensor import BY_PROTOCOL_NAME, Array, DataType, Tensor, pack

_FIELDS: Final = (
    ("bool_contents", "BOOL", np.bool_, frozenset({DataType.BOOL})),
    ("int_contents", "INT32", np.int32, frozenset({DataType.INT8, DataType.INT16, DataType.INT32})),
    ("int64_contents", "INT64", np.int64, frozenset({DataType.INT64})),
    ("uint_contents", "UINT32", np.uint32, frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32})),
    ("uint64_contents", "UINT64", np.uint64, frozenset({DataType.UINT64})),
    ("fp32_contents", "FP32", np.float32, frozenset({DataType.FP32})),
    ("fp64_contents", "FP64", np.float64, frozenset({DataType.FP64})),
    ("bytes_contents", "BYTES", np.object_, frozenset({DataType.BYTES})),
)
"""A field of InferTensorContents, what the real server calls its type, its elements, and the types that it carries."""


def datatype_named(name: str) -> DataType:
    """INVALID for a name that no data type has: the engine refuses it, as it knows what the model expects."""
    return BY_PROTOCOL_NAME.get(name, DataType.INVALID)


def typed_tensor(name: str, datatype: DataType, shape: tuple[int, ...], contents: Any, model_name: str) -> Tensor:
    """The tensor of an InferTensorContents.

    With another number of elements than the shape has, it holds packed data, which the engine refuses in the words that
    it has for raw data. InvalidArgumentError if the elements are of another type, or of two, or if one does not fit
    INT8, INT16, UINT8 or UINT16.
    """
    array = None
    for field, called, element, datatypes in _FIELDS:
        elements = getattr(contents, field)
        if not len(elements):
            continue
        if array is not None:
            raise InvalidArgumentError(
                f"unexpected explicit tensor data for input tensor '{name}' for model '{model_name}', "
                "binary data was already supplied."
            )
        if datatype not in datatypes:
            expected = "<invalid>" if datatype is DataType.INVALID else datatype.protocol_name
            raise InvalidArgumentError(
                f"unexpected explicit tensor data for input tensor '{name}' for model '{model_name}' "
                f"of type '{called}', expected datatype '{expected}'"
            )
        array = _array(contents, elements, element)
        if array.dtype != datatype.dtype:
            array = narrowed(array, datatype, name)
    if array is None:
        return Tensor(name, datatype, shape, buffer=b"")
    if not _holds(shape, len(array)):
        return Tensor(name, datatype, shape, buffer=pack(array, datatype))
    return Tensor(name, datatype, shape, array=array.reshape(shape))


def _array(contents: Any, elements: Any, element: type[np.generic]) -> Array:
    """The elements of the only field that is set."""
    if element is np.object_:
        array = np.empty(len(elements), dtype=np.object_)
        array[:] = elements
        return array
    if element in (np.float32, np.float64):
        # Packed, they are the array: protobuf writes them twenty times faster than iteration hands them over.
        contents.DiscardUnknownFields()
        encoded = contents.SerializeToString()
        return np.frombuffer(encoded, element, len(elements), len(encoded) - len(elements) * np.dtype(element).itemsize)
    return np.fromiter(elements, element, len(elements))


def _holds(shape: tuple[int, ...], count: int) -> bool:
    """Whether a shape has this many elements; without the product of a client's dims, which may be astronomical."""
    if 0 in shape:
        return count == 0 and min(shape) == 0
    product = 1
    for dim in shape:
        if dim < 0 or product > count:
            return False
        product *= dim
    return product == count
