"""Tensors that other libraries hold, by DLPack: https://dmlc.github.io/dlpack/latest/c_api.html.

numpy does the exchange, but for two things that it cannot do: bfloat16, which goes through it as uint16, and memory of
a GPU, which is copied to the host with the GPU's own driver.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from atoll.backends.python.utils.errors import TritonModelException
from atoll.tensor import Array

CPU, CUDA, CUDA_HOST = 1, 2, 3
_UNSIGNED, _FLOAT, _BFLOAT = 1, 2, 4
_NAME = b"dltensor"

_UNSUPPORTED = (
    "Provided tensor is not supported. Tensor must be a DLPack capsule         "
    "or have `__dlpack__` and `__dlpack_device__` attributes"
)
_NOT_CONTIGUOUS = (
    "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are supported."
)


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


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
        _held(capsule).code = _BFLOAT
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
    if _is_valid(tensor, _NAME):
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
    if not _is_valid(capsule, _NAME):
        raise TritonModelException(_UNSUPPORTED)
    return _taken(capsule, tensor if kind == CUDA else None)


def _taken(capsule: object, producer: Any) -> Imported:
    held = _held(capsule)
    device = (held.device_type, held.device_id)
    bfloat16 = held.code == _BFLOAT and held.bits == 16
    if held.device_type == CUDA:
        _check_contiguous(held)
        return Imported(_copied_from_gpu(held), bfloat16, device if producer is not None else (CPU, 0), producer)
    if bfloat16:
        held.code = _UNSIGNED
    held.device_type = CPU
    try:
        array: Array = np.from_dlpack(cast(Any, _Capsule(capsule)))
    except (RuntimeError, BufferError) as error:
        raise TritonModelException(f"the DLPack tensor cannot be taken: {error}") from error
    if not array.flags.c_contiguous:
        raise TritonModelException(_NOT_CONTIGUOUS)
    return Imported(np.asarray(_Writable(array)), bfloat16, (CPU, 0))


def _held(capsule: object) -> _Tensor:
    return _Tensor.from_address(_pointer(capsule, _NAME))


def _check_contiguous(held: _Tensor) -> None:
    if not held.strides:
        return
    expected = 1
    for axis in reversed(range(held.ndim)):
        if held.shape[axis] != 1 and held.strides[axis] != expected:
            raise TritonModelException(_NOT_CONTIGUOUS)
        expected *= held.shape[axis]


def _copied_from_gpu(held: _Tensor) -> Array:
    kind = {_UNSIGNED: "u", _BFLOAT: "u", _FLOAT: "f", 0: "i", 6: "b"}.get(held.code)
    if kind is None or held.lanes != 1 or held.bits % 8:
        raise TritonModelException(f"the DLPack type (code {held.code}, {held.bits} bits) is no Triton data type")
    array = np.empty(tuple(held.shape[axis] for axis in range(held.ndim)), np.dtype(f"{kind}{held.bits // 8}"))
    if array.nbytes:
        _copy_to_host(array.ctypes.data, held.data + held.byte_offset, array.nbytes, held.device_id)
    return array


def _copy_to_host(target: int, source: int, byte_size: int, device: int) -> None:
    """After everything that was started on the GPU's default stream."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise TritonModelException(
            f"the tensor is on GPU {device}, and CUDA's driver cannot be used: {error}"
        ) from error
    context = ctypes.c_void_p()
    number = ctypes.c_int()
    _checked(driver.cuInit(0), "cuInit")
    _checked(driver.cuDeviceGet(ctypes.byref(number), device), "cuDeviceGet")
    _checked(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), number), "cuDevicePrimaryCtxRetain")
    try:
        _checked(driver.cuCtxPushCurrent_v2(context), "cuCtxPushCurrent")
        try:
            copy: Callable[..., int] = driver.cuMemcpyDtoH_v2
            result = copy(ctypes.c_void_p(target), ctypes.c_uint64(source), ctypes.c_size_t(byte_size))
            _checked(result, "cuMemcpyDtoH")
        finally:
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(number)


def _checked(result: int, function: str) -> None:
    if result != 0:
        raise TritonModelException(f"the tensor cannot be copied from the GPU: {function} gave CUDA error {result}")
