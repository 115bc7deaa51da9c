"""Where a tensor's bytes are, who owns them, and who makes room for outputs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.tensor import Array
from atoll.tritonserver import dlpack
from atoll.tritonserver.dlpack import DLDeviceType
from atoll.tritonserver.enums import MemoryType
from atoll.tritonserver.unpicklable import Unpicklable

DeviceOrMemoryType: TypeAlias = tuple[MemoryType, int] | MemoryType | tuple[DLDeviceType, int] | str
"""A memory, with the number of the device it is on: MemoryType.CPU, (MemoryType.GPU, 1), "cpu", "gpu:1"."""

_OF_DEVICE = {
    DLDeviceType.kDLCPU: MemoryType.CPU,
    DLDeviceType.kDLCUDA: MemoryType.GPU,
    DLDeviceType.kDLCUDAHost: MemoryType.CPU_PINNED,
}
_LEGACY_STREAM = 1  # the default one, behind which `CudaDriver.read` copies
_BY_NAME = {"cpu": MemoryType.CPU, "cpu_pinned": MemoryType.CPU_PINNED, "gpu": MemoryType.GPU, "cuda": MemoryType.GPU}


def parse_memory_type(memory: DeviceOrMemoryType) -> tuple[MemoryType, int]:
    """The memory, and its device's number. Raises InvalidArgumentError for what is neither."""
    given, number = memory if isinstance(memory, tuple) and len(memory) == 2 else (memory, 0)
    if isinstance(given, str):
        name, _, text = given.lower().partition(":")
        found = _BY_NAME.get(name)
        if found is not None and (not text or text.isdecimal()):
            return found, int(text or number)
    elif isinstance(given, MemoryType) and isinstance(number, int):
        return given, number
    elif isinstance(given, DLDeviceType) and isinstance(number, int):
        return _OF_DEVICE[given], number
    raise InvalidArgumentError(
        f"Invalid memory type: {memory!r}; expected a MemoryType, a pair of one and a device's number, or text such as "
        "'cpu' or 'gpu:0'"
    )


class _Bytes:
    """Memory as numpy takes it: the array that is made of it holds this, and so the owner."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, address: int, size: int, owner: object):
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}
        self._owner = owner


@dataclass
class MemoryBuffer(Unpicklable):
    """`size` bytes at the address `data_ptr`, valid as long as `owner` is held; the buffer holds it."""

    data_ptr: int
    memory_type: MemoryType
    memory_type_id: int
    size: int
    owner: Any

    @staticmethod
    def from_dlpack(owner: Any) -> "MemoryBuffer":
        """The memory of an object with `__dlpack__`; nothing is copied. Raises InvalidArgumentError."""
        return buffer_of(received(owner))

    def view(self) -> Array:
        """The bytes as an array of UINT8, which holds the owner. Raises UnsupportedError for a GPU's memory."""
        if self.memory_type is MemoryType.GPU:
            raise UnsupportedError(f"the memory of GPU {self.memory_type_id} cannot be seen from the host: use to_host")
        if not self.size:
            return np.empty(0, np.uint8)
        return np.asarray(_Bytes(self.data_ptr, self.size, self.owner))


def received(owner: Any) -> dlpack.Received:
    """The DLPack tensor of an object. Raises InvalidArgumentError where it has none that can be used."""
    if not hasattr(owner, "__dlpack__"):
        raise InvalidArgumentError(
            f"a '{type(owner).__name__}' object has no __dlpack__; expected an array or a tensor"
        )
    try:
        device = owner.__dlpack_device__()[0] if hasattr(owner, "__dlpack_device__") else DLDeviceType.kDLCPU
        on_gpu = device == DLDeviceType.kDLCUDA  # then its own stream may still be writing
        return dlpack.receive(owner.__dlpack__(stream=_LEGACY_STREAM) if on_gpu else owner.__dlpack__())
    except (BufferError, TypeError, RuntimeError) as error:  # numpy: read-only; torch: requires_grad
        raise InvalidArgumentError(f"DLPack: '{type(owner).__name__}' object cannot be shared: {error}") from error


def buffer_of(tensor: dlpack.Received) -> MemoryBuffer:
    """Its memory."""
    size = tensor.data_type.engine.size
    for dim in tensor.shape:
        size *= dim
    return MemoryBuffer(tensor.address, _OF_DEVICE[tensor.device_type], tensor.device_id, size, tensor.capsule)


def host_buffer(array: Array) -> MemoryBuffer:
    """The memory of a contiguous array."""
    return MemoryBuffer(array.__array_interface__["data"][0], MemoryType.CPU, 0, array.nbytes, array)


class MemoryAllocator(ABC):
    """Makes room for outputs, from any thread."""

    @abstractmethod
    def allocate(self, size: int, memory_type: MemoryType, memory_type_id: int, tensor_name: str) -> MemoryBuffer:
        """At least `size` bytes of host memory that may be written to."""


class CPUAllocator(MemoryAllocator):
    """Host memory of numpy's."""

    def allocate(self, size: int, memory_type: MemoryType, memory_type_id: int, tensor_name: str) -> MemoryBuffer:
        """See `MemoryAllocator.allocate`."""
        return host_buffer(np.empty(size, np.uint8))


default_memory_allocators: dict[MemoryType, MemoryAllocator] = {MemoryType.CPU: CPUAllocator()}
