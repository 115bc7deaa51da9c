"""Tensors that go into a model and come out of it: a data type, a shape, and memory that somebody owns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.devices.cuda_driver import CudaError, cuda_driver
from atoll.errors import InvalidArgumentError, UnavailableError, UnsupportedError
from atoll.tensor import Array, element_count, unpack
from atoll.tensor import DataType as EngineType
from atoll.tensor import Tensor as EngineTensor
from atoll.tritonserver import dlpack
from atoll.tritonserver.dlpack import DLDeviceType
from atoll.tritonserver.enums import DataType, MemoryType
from atoll.tritonserver.memory import (
    DeviceOrMemoryType,
    MemoryAllocator,
    MemoryBuffer,
    buffer_of,
    host_buffer,
    parse_memory_type,
    received,
)
from atoll.tritonserver.unpicklable import Unpicklable

_TYPES = {one.engine: one for one in DataType}


@dataclass
class Tensor(Unpicklable):
    """`memory_buffer` holds the elements in row-major order; of BYTES, each behind its length in 4 bytes."""

    data_type: DataType
    shape: Sequence[int]
    memory_buffer: MemoryBuffer

    # ---- make

    @staticmethod
    def from_dlpack(obj: Any) -> "Tensor":
        """Of an object with `__dlpack__`: numpy, torch, cupy, jax... Nothing is copied, and the memory is held."""
        if isinstance(obj, np.ndarray):  # read-only ones too, which numpy's __dlpack__ refuses
            return tensor_of(EngineTensor.from_numpy("", obj))
        found = received(obj)
        return Tensor(found.data_type, found.shape, buffer_of(found))

    @staticmethod
    def from_string_array(string_array: "list[str] | Array") -> "Tensor":
        """BYTES, of texts in UTF-8."""
        return Tensor.from_bytes_array(string_array)

    @staticmethod
    def from_bytes_array(bytes_array: "list[bytes] | list[str] | Array") -> "Tensor":
        """BYTES, of an array of any shape."""
        array = np.asarray(bytes_array, dtype=None if isinstance(bytes_array, np.ndarray) else np.object_)
        if array.dtype.kind not in "OSUT":
            raise InvalidArgumentError(f"an array of '{array.dtype}' holds neither bytes nor texts")
        return tensor_of(EngineTensor.from_numpy("", array))

    # ---- read

    @property
    def memory_type(self) -> MemoryType:
        """Where the elements are."""
        return self.memory_buffer.memory_type

    @property
    def memory_type_id(self) -> int:
        """The number of the device that they are on."""
        return self.memory_buffer.memory_type_id

    @property
    def data_ptr(self) -> int:
        """Their address."""
        return self.memory_buffer.data_ptr

    @property
    def size(self) -> int:
        """Their bytes."""
        return self.memory_buffer.size

    def to_bytes_array(self) -> Array:
        """Of BYTES: an array of bytes objects. Raises InvalidArgumentError for other types."""
        if self.data_type is not DataType.BYTES:
            raise InvalidArgumentError(f"Tensor has data type {self.data_type.name} not {DataType.BYTES.name}")
        return unpack(self.memory_buffer.view().data, EngineType.BYTES, tuple(self.shape), "")

    def to_string_array(self) -> Array:
        """Of BYTES in UTF-8: an array of str objects. Raises InvalidArgumentError for other types and texts."""
        encoded = self.to_bytes_array()
        decoded = np.empty(encoded.shape, np.object_)
        flat = decoded.reshape(-1)
        try:
            for index, one in enumerate(encoded.ravel().tolist()):
                flat[index] = one.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(f"element {index} is no UTF-8: {error}; use to_bytes_array") from None
        return decoded

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """For `from_dlpack` of numpy, torch, ...: the same memory, or a copy of it where others may not write to it.

        Raises BufferError, as that protocol has it, for BYTES, another device than the host, and a stream.
        """
        if self.data_type in (DataType.BYTES, DataType.INVALID):
            raise BufferError(f"DLPack has no {self.data_type.name}: use to_bytes_array or to_string_array")
        if self.memory_type is MemoryType.GPU:
            raise BufferError("the tensor is in a GPU's memory: use the object that it was made from")
        if stream is not None or (dl_device is not None and tuple(dl_device) != (DLDeviceType.kDLCPU, 0)):
            raise BufferError("the tensor is in host memory, and has no stream: take it there, and then to the device")
        array = elements_of(self)
        owner = self.memory_buffer.owner
        kept = isinstance(owner, np.ndarray) and not owner.flags.writeable
        if copy or (copy is None and kept):
            array = array.copy()
        elif kept:
            raise BufferError("the tensor's memory is shared with others and must not be written to: a copy is needed")
        return dlpack.send(self.data_type, array.shape, array.__array_interface__["data"][0], array)

    def __dlpack_device__(self) -> tuple[DLDeviceType, int]:
        if self.memory_type is MemoryType.GPU:
            return DLDeviceType.kDLCUDA, self.memory_type_id
        return DLDeviceType.kDLCPU, 0

    # ---- move

    def to_host(self) -> "Tensor":
        """Itself, or a copy of what is in a GPU's memory. Raises UnavailableError where that cannot be copied."""
        if self.memory_type is not MemoryType.GPU:
            return self
        room = np.empty(self.size, np.uint8)
        try:
            if self.size:
                cuda_driver().read(self.memory_type_id, self.data_ptr, room.__array_interface__["data"][0], self.size)
        except CudaError as error:
            raise UnavailableError(
                f"a tensor in the memory of GPU {self.memory_type_id} cannot be copied to the host: {error}; copy it "
                "with the library that it is of (with torch: tensor.cpu())"
            ) from error
        return Tensor(self.data_type, self.shape, host_buffer(room))

    def to_device(self, device: DeviceOrMemoryType) -> "Tensor":
        """Itself where it is there, or `to_host`. Raises UnsupportedError for another GPU, to which others copy."""
        memory_type, number = parse_memory_type(device)
        if memory_type is not MemoryType.GPU:
            return self.to_host()
        if (memory_type, number) != (self.memory_type, self.memory_type_id):
            raise UnsupportedError(
                f"tensors are not copied between {self.memory_type.name} and {memory_type.name} here: use torch, cupy "
                "or jax (with torch: torch.from_dlpack(tensor).to(device))"
            )
        return self


# ---- between this API and the engine


def elements_of(tensor: Tensor) -> Array:
    """A view in the tensor's shape, not of BYTES. Raises InvalidArgumentError where shape and size disagree."""
    datatype, shape = tensor.data_type.engine, tuple(tensor.shape)
    expected = element_count(shape) * datatype.size
    if min(shape, default=0) < 0 or tensor.size != expected:
        raise InvalidArgumentError(f"{expected} bytes are expected for the shape {list(shape)}, and not {tensor.size}")
    return tensor.memory_buffer.view().view(datatype.dtype).reshape(shape)


def tensor_of(tensor: EngineTensor) -> Tensor:
    """The engine's, without a copy where its elements lie without gaps and are not BYTES."""
    if tensor.datatype is EngineType.BYTES:
        array = np.frombuffer(tensor.packed(), np.uint8)
    else:
        array = np.ascontiguousarray(tensor.array())
    return Tensor(_TYPES[tensor.datatype], tensor.shape, host_buffer(array))


def placed(tensor: Tensor, name: str, allocator: MemoryAllocator) -> Tensor:
    """A copy in memory of the user's. Raises InvalidArgumentError where that is too little or not the host's."""
    memory = allocator.allocate(tensor.size, MemoryType.CPU, 0, name)
    if memory.memory_type is MemoryType.GPU or memory.size < tensor.size:
        raise InvalidArgumentError(
            f"the memory allocator gave {memory.size} bytes of {memory.memory_type.name} memory for output '{name}', "
            f"and {tensor.size} of the host's are needed"
        )
    if tensor.size:
        memory.view()[: tensor.size] = tensor.memory_buffer.view()
    room = MemoryBuffer(memory.data_ptr, memory.memory_type, memory.memory_type_id, tensor.size, memory.owner)
    return Tensor(tensor.data_type, tensor.shape, room)


def engine_tensor(name: str, tensor: Tensor) -> EngineTensor:
    """The engine's, with a view of the tensor's memory. Raises InvalidArgumentError where shape and size disagree."""
    tensor = tensor.to_host()
    datatype, shape = tensor.data_type.engine, tuple(tensor.shape)
    if datatype is EngineType.BYTES:
        return EngineTensor(name, datatype, shape, buffer=tensor.memory_buffer.view().data)
    return EngineTensor(name, datatype, shape, array=elements_of(tensor))
