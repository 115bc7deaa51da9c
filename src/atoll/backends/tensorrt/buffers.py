"""An instance's memory for its tensors: on the GPU and, pinned, on the host. It grows when it must, and is reused."""

import ctypes
from typing import Any

import numpy as np

from atoll.backends.tensorrt.profiles import Shape
from atoll.devices.cuda_stream import CudaDevice, DeviceMemory, PinnedMemory
from atoll.tensor import Array

_LEAST = 256  # a tensor without elements has an address, too


class Buffers:
    """One stretch of memory for each name. Nothing may be under way when one grows."""

    def __init__(self, device: CudaDevice):
        self._device = device
        self._there: dict[str, DeviceMemory] = {}
        self._here: dict[str, PinnedMemory] = {}
        self.moves = 0  # how often memory of the GPU has been replaced

    def on_device(self, name: str, byte_size: int) -> int:
        """The address of at least so many bytes of the GPU's memory."""
        held = self._there.get(name)
        if held is None or held.byte_size < byte_size:
            if held is not None:
                del self._there[name]
                self.moves += 1
                held.free()
            held = self._there[name] = self._device.allocate(max(byte_size, _LEAST))
        return held.address

    def on_host(self, name: str, byte_size: int) -> int:
        """The address of at least so many bytes of pinned memory."""
        held = self._here.get(name)
        if held is None or held.byte_size < byte_size:
            if held is not None:
                del self._here[name]
                held.free()
            held = self._here[name] = self._device.allocate_pinned(max(byte_size, _LEAST))
        return held.address

    def close(self) -> None:
        """Free all of it."""
        while self._there:
            self._there.popitem()[1].free()
        while self._here:
            self._here.popitem()[1].free()


def copied(address: int, dtype: "np.dtype[Any]", shape: Shape) -> Array:
    """An array of its own with what is at this address of the host's memory."""
    array = np.empty(shape, dtype)
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
    return array


def write(address: int, array: Array) -> None:
    """Put an array's elements at this address of the host's memory."""
    if array.nbytes:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
