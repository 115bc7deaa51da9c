"""CUDA shared memory: memory of a GPU that a client has made, opened through its handle.

Models take host memory, so a tensor is copied from the GPU when its request is read, and to it when it is answered. It
has not met a GPU here.
"""

from collections.abc import Callable

import numpy as np

from atoll.devices.cuda_driver import CudaDriver, CudaError, CudaMemory
from atoll.errors import InternalError, InvalidArgumentError, UnavailableError
from atoll.frontends.shared_memory.system import contents
from atoll.protocol.region_requests import HANDLE_BYTES, CudaRegion
from atoll.tensor import Buffer, Tensor


def open_cuda_region(wanted: CudaRegion, driver: Callable[[], CudaDriver]) -> "DeviceMemory":
    """The region, ready for use. Raises InvalidArgumentError where there is no such GPU or memory."""
    refusal = f"failed to register shared memory region: invalid args: '{wanted.name}'"
    if len(wanted.raw_handle) != HANDLE_BYTES:
        raise InvalidArgumentError(f"{refusal}: its handle has {len(wanted.raw_handle)} bytes, expected {HANDLE_BYTES}")
    try:
        memory = driver().open_memory(wanted.raw_handle, wanted.device_id)
    except CudaError as error:
        raise InvalidArgumentError(f"{refusal}: {error}") from None
    if not 0 < wanted.byte_size <= memory.byte_size:
        raise InvalidArgumentError(
            f"{refusal}: its size is {wanted.byte_size} bytes, and what the handle stands for has {memory.byte_size}"
        )
    return DeviceMemory(wanted, memory)


class DeviceMemory:
    """Closed when the last request that uses it is answered and it is not registered any more."""

    def __init__(self, wanted: CudaRegion, memory: CudaMemory):
        self.name = wanted.name
        self.byte_size = wanted.byte_size
        self._memory = memory

    def read(self, offset: int, byte_size: int) -> Buffer:
        try:
            data = np.empty(byte_size, np.uint8)
            self._memory.read(offset, data.ctypes.data, byte_size)
        except MemoryError:
            raise UnavailableError(f"no memory for a tensor of {byte_size} bytes from region '{self.name}'") from None
        except CudaError as error:
            raise InternalError(f"reading shared memory region '{self.name}' failed: {error}") from None
        return data.data.toreadonly()

    def write(self, offset: int, tensor: Tensor, byte_size: int) -> int:
        source = np.ascontiguousarray(contents(tensor))
        if 0 < source.nbytes <= byte_size:
            try:
                self._memory.write(offset, source.ctypes.data, source.nbytes)
            except CudaError as error:
                raise InternalError(f"writing shared memory region '{self.name}' failed: {error}") from None
        return source.nbytes

    def check(self) -> None:
        """It cannot be cut short: the driver keeps it for as long as it is open."""
