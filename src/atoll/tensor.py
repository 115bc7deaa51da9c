"""Data types, tensors and the packing of BYTES: the only copy of each.

Source for names, numbers and the BYTES layout: Triton's model_config.proto and its binary tensor data extension.
BF16 has no numpy type of its own: its arrays hold the 16-bit patterns as uint16.

Child processes import this module too: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from atoll.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import Self

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview


SMALL_BYTES = 2048  # up to here a copy is cheaper than a view


class DataType(Enum):
    """A tensor's element type, under the protocol's name.

    `number` is its value in ModelConfig, `size` its bytes per element (0: variable), `dtype` what its arrays hold.
    """

    INVALID = ("INVALID", 0, 0, None)
    BOOL = ("BOOL", 1, 1, np.bool_)
    UINT8 = ("UINT8", 2, 1, np.uint8)
    UINT16 = ("UINT16", 3, 2, np.uint16)
    UINT32 = ("UINT32", 4, 4, np.uint32)
    UINT64 = ("UINT64", 5, 8, np.uint64)
    INT8 = ("INT8", 6, 1, np.int8)
    INT16 = ("INT16", 7, 2, np.int16)
    INT32 = ("INT32", 8, 4, np.int32)
    INT64 = ("INT64", 9, 8, np.int64)
    FP16 = ("FP16", 10, 2, np.float16)
    FP32 = ("FP32", 11, 4, np.float32)
    FP64 = ("FP64", 12, 8, np.float64)
    BYTES = ("BYTES", 13, 0, np.object_)
    BF16 = ("BF16", 14, 2, np.uint16)

    protocol_name: str
    config_name: str
    number: int
    size: int
    dtype: np.dtype[Any]

    def __init__(self, protocol_name: str, number: int, size: int, scalar: type[np.generic] | None):
        self.protocol_name = protocol_name
        self.config_name = "TYPE_STRING" if protocol_name == "BYTES" else f"TYPE_{protocol_name}"
        self.number = number
        self.size = size
        self.dtype = np.dtype(scalar if scalar is not None else np.void)

    def __repr__(self) -> str:
        return f"DataType.{self.name}"


BY_PROTOCOL_NAME = {one.protocol_name: one for one in DataType if one is not DataType.INVALID}
BY_CONFIG_NAME = {one.config_name: one for one in DataType}
BY_NUMBER = {one.number: one for one in DataType}
BY_DTYPE_NAME = {
    **{one.dtype.name: one for one in DataType if one not in (DataType.INVALID, DataType.BYTES, DataType.BF16)},
    "bfloat16": DataType.BF16,
}
"""By the names of numpy, ml_dtypes, JAX and PyTorch, of what has a fixed size."""
_BY_DTYPE = {one.dtype: one for one in DataType if one not in (DataType.INVALID, DataType.BF16)}


def data_type_of(array: Array) -> DataType:
    """The data type that an array holds; strings and bytes of any numpy kind are BYTES, ml_dtypes.bfloat16 is BF16.

    Raises InvalidArgumentError for a dtype that the protocol does not have.
    """
    found = _BY_DTYPE.get(array.dtype)
    if found is not None:
        return found
    if array.dtype.kind in "SUT":
        return DataType.BYTES
    if array.dtype.name == "bfloat16":
        return DataType.BF16
    native = _BY_DTYPE.get(array.dtype.newbyteorder("="))
    if native is None:
        raise InvalidArgumentError(f"numpy dtype '{array.dtype}' has no Triton data type; convert the array first")
    return native


def element_count(shape: Iterable[int]) -> int:
    """How many elements a shape holds (1 for the empty shape); dims must not be negative."""
    count = 1
    for dim in shape:
        count *= dim
    return count


class Tensor:
    """A named tensor: its data either as an array, or still as the packed bytes in which it came.

    `shape` includes the batch dimension where the model has one. `buffer` is the little-endian wire form (BYTES: a
    4-byte length before each element) and may be a view into memory that the sender of the request owns; it is valid
    until the request's final response has been sent. Exactly one of `buffer` and the array is given; `array()` decodes
    a buffer once and keeps the result.
    """

    __slots__ = ("_array", "buffer", "datatype", "name", "shape")

    def __init__(
        self,
        name: str,
        datatype: DataType,
        shape: tuple[int, ...],
        *,
        array: Array | None = None,
        buffer: Buffer | None = None,
    ):
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.buffer = buffer
        self._array = array

    @classmethod
    def from_numpy(cls, name: str, array: Array) -> Self:
        """A tensor of this array's type and shape, without copying where its dtype and byte order already fit."""
        datatype = data_type_of(array)
        if datatype is DataType.BF16:
            array = array.view(np.uint16)
        elif datatype is DataType.BYTES:
            array = as_bytes_array(array)
        elif array.dtype != datatype.dtype:
            array = array.astype(datatype.dtype)
        return cls(name, datatype, array.shape, array=array)

    def array(self) -> Array:
        """The elements, in `shape`. Raises InvalidArgumentError where the buffer does not hold exactly that many."""
        return self._array if self._array is not None else self.decode()

    def decode(self, model_name: str = "") -> Array:
        """As `array`, of a tensor that came as a buffer; errors name the model for which it is an input."""
        assert self.buffer is not None, "a tensor has a buffer or an array. This is a bug"
        self._array = unpack(self.buffer, self.datatype, self.shape, self.name, model_name)
        return self._array

    def renamed(self, name: str) -> Tensor:
        """The same data under another name."""
        return Tensor(name, self.datatype, self.shape, array=self._array, buffer=self.buffer)

    def reshaped(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The same data under another name and in another shape, which must have as many elements."""
        array = self._array
        return Tensor(
            name, self.datatype, shape, array=None if array is None else array.reshape(shape), buffer=self.buffer
        )

    def packed(self) -> Buffer:
        """The wire form: the buffer it came in, or a view of (BYTES, non-contiguous: a packed copy of) the array."""
        if self.buffer is not None:
            return self.buffer
        assert self._array is not None, "a tensor has a buffer or an array. This is a bug"
        return pack(self._array, self.datatype)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.datatype.protocol_name}, {list(self.shape)})"


def unpack(buffer: Buffer, datatype: DataType, shape: tuple[int, ...], name: str, model_name: str = "") -> Array:
    """The wire form as an array in `shape`: a view of `buffer`, but for BYTES a new array of bytes objects.

    Raises InvalidArgumentError, naming the input and its model, where the byte count or (BYTES) an element's length
    disagrees with the shape.
    """
    if datatype is DataType.BYTES:
        elements = unpack_bytes(
            buffer, element_count(shape), name, model_name
        )  # before any allocation of the claimed size
        flat = np.empty(len(elements), dtype=np.object_)
        flat[:] = elements
        return flat.reshape(shape)
    expected = element_count(shape) * datatype.size
    if len(buffer) != expected:
        raise InvalidArgumentError(
            f"input byte size mismatch for input '{name}'{_of(model_name)}. Expected {expected}, got {len(buffer)}"
        )
    return np.frombuffer(buffer, datatype.dtype).reshape(shape)


def pack(array: Array, datatype: DataType) -> Buffer:
    """An array's wire form: a view of it where it is large and contiguous, else a copy; BYTES are length-prefixed."""
    if datatype is DataType.BYTES:
        return pack_bytes(array)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    if array.nbytes <= SMALL_BYTES:
        return array.tobytes()
    return array.reshape(-1).view(np.uint8).data


_LENGTH = struct.Struct("<I")


def pack_bytes(array: Array) -> bytes:
    """BYTES elements in row-major order, each after its length as a little-endian uint32."""
    parts: list[bytes] = []
    for element in array.ravel(order="C").tolist():
        data = element if isinstance(element, bytes) else as_bytes(element)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def unpack_bytes(buffer: Buffer, count: int, name: str, model_name: str = "") -> list[bytes]:
    """The `count` elements of a packed BYTES tensor.

    Raises InvalidArgumentError, with the real server's words, where a length is cut off or reaches past the end, or
    where the buffer holds more or fewer elements than `count`.
    """
    view = memoryview(buffer)
    elements: list[bytes] = []
    position, end = 0, len(view)
    while position < end:
        if end - position < 4:
            raise InvalidArgumentError(
                f"incomplete string length indicator for inference input '{name}'{_of(model_name)}, "
                f"expecting 4 bytes but only {end - position} bytes available. "
                "Please make sure the string length indicator is in one buffer."
            )
        (length,) = _LENGTH.unpack_from(view, position)
        position += 4
        if end - position < length:
            raise InvalidArgumentError(
                f"incomplete string data for inference input '{name}', "
                f"expecting string of length {length} but only {end - position} bytes available"
            )
        elements.append(bytes(view[position : position + length]))
        position += length
    if len(elements) > count:
        raise InvalidArgumentError(
            f"unexpected number of string elements {len(elements)} for inference input '{name}'{_of(model_name)}, "
            f"expecting {count}"
        )
    if len(elements) < count:
        raise InvalidArgumentError(
            f"expected {count} string elements for inference input '{name}'{_of(model_name)}, got {len(elements)}"
        )
    return elements


def _of(model_name: str) -> str:
    return f" for model '{model_name}'" if model_name else ""


def as_bytes(element: object) -> bytes:
    """One element of a BYTES tensor as bytes: text in UTF-8, anything else by its `str`."""
    if isinstance(element, bytes):
        return element
    return str(element).encode("utf-8")


def as_bytes_array(array: Array | Sequence[object]) -> Array:
    """An object array of bytes with the same shape."""
    source = np.asarray(array)
    result = np.empty(source.shape, dtype=np.object_)
    flat = result.reshape(-1)
    for index, element in enumerate(source.ravel(order="C").tolist()):
        flat[index] = as_bytes(element)
    return result
