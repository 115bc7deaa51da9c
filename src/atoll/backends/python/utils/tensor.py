"""`Tensor`: a named array, as a model makes one and as one came with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atoll.backends.python.utils.errors import TritonModelException, mismatch
from atoll.tensor import Array, DataType, as_bytes_array
from atoll.tensor import Tensor as Inner

if TYPE_CHECKING:
    from typing import Self

_DATA_TYPES: dict[np.dtype[Any], DataType] = {
    one.dtype: one for one in DataType if one not in (DataType.INVALID, DataType.BF16)
}
_BYTES = DataType.BYTES


class Tensor:
    """A named tensor in the memory of this process.

    Made of a numpy array of a type that Triton has, it shares the array's memory; an array that is not contiguous in C
    order is copied first. Raises TypeError for other arguments than these two, TritonModelException for an empty name
    or a dtype that no data type stands for.
    """

    __slots__ = ("_array", "inner")

    _array: Array | None
    inner: Inner

    def __init__(self, name: str, array: Array, /):
        if type(name) is not str or not isinstance(array, np.ndarray):
            name = _checked_name(name, array)
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        datatype = _DATA_TYPES.get(array.dtype)
        if datatype is None:
            datatype = _unusual_data_type(array)
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        self._array = array
        if datatype is _BYTES:
            array = _elements_of(array)
        elif datatype is DataType.BF16:
            array = array.view(np.uint16)
        self.inner = Inner(name, datatype, array.shape, array=array)

    @classmethod
    def received(cls, inner: Inner) -> Self:
        """The tensor as a model sees it, of one that came from the server."""
        self = cls.__new__(cls)
        self.inner = inner
        self._array = None
        return self

    def name(self) -> str:
        """The input's or output's name."""
        return self.inner.name

    def shape(self) -> list[int]:
        """The dims, with the batch dimension where the model has one."""
        return list(self.inner.shape)

    def triton_dtype(self) -> int:
        """The data type's number in ModelConfig: `triton_to_numpy_type` takes it."""
        return self.inner.datatype.number

    def as_numpy(self) -> Array:
        """The elements, in this tensor's shape: always the same array, which may be written to.

        BYTES is an object array of bytes.
        """
        array = self._array
        return array if array is not None else self._decoded()

    def _decoded(self) -> Array:
        array = self.inner.array()
        if not array.flags.writeable:
            array = array.copy()
        self._array = array
        return array

    def is_cpu(self) -> bool:
        """Whether the elements are in the memory of the CPU."""
        return True


def _checked_name(name: object, array: object) -> str:
    if not isinstance(array, np.ndarray) or not isinstance(name, (str, bytes)):
        raise mismatch("c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)", (name, array))
    return name.decode() if isinstance(name, bytes) else name


def _unusual_data_type(array: Array) -> DataType:
    if array.dtype.kind == "S":
        return _BYTES
    if array.dtype.name == "bfloat16":
        return DataType.BF16
    raise TritonModelException("NumPy dtype is not supported.")


def _elements_of(array: Array) -> Array:
    """The array itself where all its elements are bytes already."""
    if array.dtype == np.object_ and set(map(type, array.ravel().tolist())) <= {bytes}:
        return array
    return as_bytes_array(array)
