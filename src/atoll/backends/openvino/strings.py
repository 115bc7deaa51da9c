"""BYTES in OpenVINO's string tensors, which its Python interface fills and reads as numpy's strings of fixed length.

Those end where the last byte that is not NUL is, and an array of them takes as much room for each element as its
longest: one long string among many short ones would take a machine's memory. So they go in and out one by one.
"""

from typing import Any

import numpy as np

from atoll.errors import InvalidArgumentError
from atoll.tensor import Array

_AT_ONCE = 1 << 20  # bytes


def string_tensor(module: Any, name: str, array: Array) -> Any:
    """An openvino.Tensor of an array of `bytes`. Raises InvalidArgumentError where an element ends with a NUL."""
    elements: list[bytes] = array.ravel().tolist()
    if any(one.endswith(b"\0") for one in elements):
        raise InvalidArgumentError(
            f"an element of input '{name}' ends with a NUL byte, which OpenVINO's Python interface would drop; "
            "send it without"
        )
    tensor = module.Tensor(module.Type.string, module.Shape(array.shape))
    longest = max(map(len, elements), default=0)
    if longest == 0:
        return tensor
    if longest * len(elements) <= _AT_ONCE:
        tensor.bytes_data = np.array(elements, dtype=f"S{longest}").reshape(array.shape)
        return tensor
    for place, element in zip(_elements(module, tensor), elements, strict=True):
        place.bytes_data = np.array([element]).reshape(place.shape)
    return tensor


def strings_of(module: Any, tensor: Any) -> Array:
    """What an openvino.Tensor of strings holds."""
    shape = tuple(tensor.shape)
    found = np.empty(shape, np.object_)
    flat = found.reshape(-1)
    for index, place in enumerate(_elements(module, tensor)):
        flat[index] = _text(place)
    return found


def _elements(module: Any, tensor: Any) -> Any:
    """Each element as a tensor that is a view of it."""
    shape = tuple(tensor.shape)
    if not shape:
        yield tensor
        return
    for place in np.ndindex(shape):
        yield module.Tensor(tensor, module.Coordinate(place), module.Coordinate([one + 1 for one in place]))


def _text(element: Any) -> bytes:
    text: bytes = element.bytes_data.tobytes()
    if len(text) > 1:
        return text
    # An array of empty strings has one byte for each all the same, and nobody has written it.
    return text if element.str_data.tobytes().strip(b"\0") else b""
