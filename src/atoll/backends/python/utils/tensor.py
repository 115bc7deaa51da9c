"""`Tensor`: a named array, as a model makes one and as one came with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atoll.backends.python.utils.arguments import as_text, mismatch
from atoll.backends.python.utils.dlpack import Imported, exported, imported
from atoll.backends.python.utils.errors import TritonModelException
from atoll.dlpack import CPU
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

        BYTES is an object array of bytes. BF16 needs the package ml_dtypes, which has the dtype; without it, and for a
        tensor on a GPU, TritonModelException is raised: use DLPack.
        """
        array = self._array
        return array if array is not None else self._decoded()

    def is_cpu(self) -> bool:
        """Whether the elements are in the memory of the CPU."""
        return True

    @staticmethod
    def from_dlpack(name: str, tensor: Any, /) -> Tensor:
        """A tensor of what a DLPack capsule or an object with `__dlpack__` holds, an array or a tensor of any library.

        Host memory is shared. What is on a GPU is copied to the host now, for the server; `to_dlpack` still gives the
        original, but of a capsule, which can be taken only once. Raises TypeError for a name that is no str,
        TritonModelException for objects, devices and types that cannot be taken, and where the tensor is not
        contiguous in C order.
        """
        text = as_text(name)
        if text is None:
            signature = "(self: str, arg0: object) -> c_python_backend_utils.Tensor"
            raise mismatch(signature, (name, tensor), function="from_dlpack")
        if not text:
            raise TritonModelException("Tensor name cannot be an empty string.")
        taken = imported(tensor)
        array = taken.array
        datatype = DataType.BF16 if taken.bfloat16 else _DATA_TYPES.get(array.dtype) or _unusual_data_type(array)
        inner = Inner(text, datatype, array.shape, array=array)
        if taken.producer is not None:
            return _GpuTensor(inner, taken)
        return Tensor.received(inner)

    def to_dlpack(self) -> Any:
        """A DLPack capsule that shares this tensor's memory. Raises TritonModelException for BYTES."""
        return self.__dlpack__()

    def __dlpack__(
        self, stream: Any = None, *, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        if self.inner.datatype is _BYTES:
            raise TritonModelException("DLPack does not have support for string tensors.")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"the tensor is on device {self.__dlpack_device__()}, not {tuple(dl_device)}")
        array = self._bits()
        return exported(array.copy() if copy else array, self.inner.datatype is DataType.BF16)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0

    def _bits(self) -> Array:
        """The elements, BF16 as uint16, in memory that may be written to."""
        array = self.inner.array()
        if not array.flags.writeable:
            array = array.copy()
            self.inner = Inner(self.inner.name, self.inner.datatype, self.inner.shape, array=array)
        return array

    def _decoded(self) -> Array:
        array = self._bits()
        if self.inner.datatype is DataType.BF16:
            array = array.view(_bfloat16())
        self._array = array
        return array


class _GpuTensor(Tensor):
    """A tensor on a GPU, made by `from_dlpack`: `inner` is its copy in the host's memory."""

    __slots__ = ("_original",)

    def __init__(self, inner: Inner, original: Imported):
        self.inner = inner
        self._array = None
        self._original = original

    def is_cpu(self) -> bool:
        return False

    def as_numpy(self) -> Array:
        raise TritonModelException(
            "Tensor is stored in GPU and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
        )

    def __dlpack__(self, stream: Any = None, **options: Any) -> Any:
        return self._original.producer.__dlpack__(stream=stream, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._original.device


def _bfloat16() -> np.dtype[Any]:
    """numpy's dtype for BF16, which another package has."""
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise TritonModelException(
            "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
        ) from None
    dtype: np.dtype[Any] = np.dtype(bfloat16)
    return dtype


def _checked_name(name: object, array: object) -> str:
    text = as_text(name)
    if text is None or not isinstance(array, np.ndarray):
        raise mismatch("c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)", (name, array))
    return text


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
