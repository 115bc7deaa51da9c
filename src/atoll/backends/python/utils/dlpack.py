"""Tensors that other libraries hold, by DLPack: https://dmlc.github.io/dlpack/latest/c_api.html.

numpy does the exchange, but for two things that it cannot do: bfloat16, which goes through it as uint16, and memory of
a GPU, which is copied to the host with the GPU's own driver.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from atoll.backends.python.utils.errors import TritonModelException
from atoll.devices.cuda_driver import CudaError, cuda_driver
from atoll.dlpack import (
    BFLOAT,
    BOOL,
    CPU,
    CUDA,
    CUDA_HOST,
    FLOAT,
    INT,
    UINT,
    DLTensor,
    is_contiguous,
    is_unused_capsule,
    shape_of,
    tensor_in,
)
from atoll.tensor import Array

_UNSUPPORTED = (
    "Provided tensor is not supported. Tensor must be a DLPack capsule         "
    "or have `__dlpack__` and `__dlpack_device__` attributes"
)
_NOT_CONTIGUOUS = (
    "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are supported."
)


class _Capsule:
    """A capsule as the object that numpy wants; it says that its memory is the host's, which pinned memory is too."""

    def __init__(self, capsule: object):
        self._capsule = capsule

    def __dlpack__(self, **options: object) -> object:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0


class _Writable:
    """The memory of an array that numpy has taken by DLPack: numpy says read-only of it because the exchange cannot."""

    def __init__(self, taken: Array):
        self._taken = taken  # it owns the capsule
        self.__array_interface__ = {
            "version": 3,
            "shape": taken.shape,
            "typestr": taken.dtype.str,
            "data": (taken.ctypes.data, False),
        }


def exported(array: Array, bfloat16: bool) -> Any:
    """A capsule that shares the array's memory; `bfloat16`: what the array holds are bit patterns of such numbers."""
    if not array.flags.writeable:
        array = array.copy()  # a capsule cannot say that its memory must not be written to
    capsule = array.__dlpack__()
    if bfloat16:
        tensor_in(capsule).code = BFLOAT
    return capsule


class Imported:
    """What a DLPack object holds. `array` is in the memory of the host; uint16 bit patterns where `bfloat16`.

    `device` is where the original is; where that is a GPU, `producer` exports it, and `array` is a copy.
    """

    __slots__ = ("array", "bfloat16", "device", "producer")

    def __init__(self, array: Array, bfloat16: bool, device: tuple[int, int], producer: Any = None):
        self.array = array
        self.bfloat16 = bfloat16
        self.device = device
        self.producer = producer


def imported(tensor: Any) -> Imported:
    """What a capsule, or an object with `__dlpack__`, holds. Host memory is shared, not copied.

    Raises TritonModelException, with the real module's words, for anything else, for tensors that are not contiguous in
    C order, and for devices that are neither a CPU nor a CUDA GPU.
    """
    if is_unused_capsule(tensor):
        return _taken(tensor, None)
    if not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
        raise TritonModelException(_UNSUPPORTED)
    kind = int(tensor.__dlpack_device__()[0])
    if kind not in (CPU, CUDA, CUDA_HOST):
        raise TritonModelException(f"DLDevice type {kind} is not support by Python backend.")
    if isinstance(tensor, np.ndarray) and not tensor.flags.writeable:
        tensor = tensor.copy()
    # 1 is CUDA's default stream: the producer makes what it still computes happen before what we do there.
    capsule = tensor.__dlpack__(stream=1 if kind == CUDA else None)
    if not is_unused_capsule(capsule):
        raise TritonModelException(_UNSUPPORTED)
    return _taken(capsule, tensor if kind == CUDA else None)


def _taken(capsule: object, producer: Any) -> Imported:
    held = tensor_in(capsule)
    device = (held.device_type, held.device_id)
    bfloat16 = held.code == BFLOAT and held.bits == 16
    if held.device_type == CUDA:
        if not is_contiguous(held):
            raise TritonModelException(_NOT_CONTIGUOUS)
        return Imported(_copied_from_gpu(held), bfloat16, device if producer is not None else (CPU, 0), producer)
    if bfloat16:
        held.code = UINT
    held.device_type = CPU
    try:
        array: Array = np.from_dlpack(cast(Any, _Capsule(capsule)))
    except (RuntimeError, BufferError) as error:
        raise TritonModelException(f"the DLPack tensor cannot be taken: {error}") from error
    if not array.flags.c_contiguous:
        raise TritonModelException(_NOT_CONTIGUOUS)
    return Imported(np.asarray(_Writable(array)), bfloat16, (CPU, 0))


def _copied_from_gpu(held: DLTensor) -> Array:
    """After everything that was started on the GPU's default stream."""
    kind = {UINT: "u", BFLOAT: "u", FLOAT: "f", INT: "i", BOOL: "b"}.get(held.code)
    if kind is None or held.lanes != 1 or held.bits % 8:
        raise TritonModelException(f"the DLPack type (code {held.code}, {held.bits} bits) is no Triton data type")
    array = np.empty(shape_of(held), np.dtype(f"{kind}{held.bits // 8}"))
    if array.nbytes:
        device = held.device_id
        try:
            cuda_driver().read(device, held.data + held.byte_offset, array.ctypes.data, array.nbytes)
        except CudaError as error:
            raise TritonModelException(
                f"the tensor is on GPU {device} and cannot be copied from it: {error}"
            ) from error
    return array
