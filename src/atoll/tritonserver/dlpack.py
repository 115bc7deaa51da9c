"""DLPack tensors read without their library, and written where numpy cannot (BF16).

Source for the layout and for who frees what: dlpack.h, version 0.x, and the Python array API standard.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.tritonserver.enums import DataType

_NAME = b"dltensor"


class DLDeviceType(IntEnum):
    """Those of DLPack's devices whose memory can be had here."""

    kDLCPU = 1  # noqa: N815 - DLPack's own names
    kDLCUDA = 2  # noqa: N815
    kDLCUDAHost = 3  # noqa: N815


_INT, _UINT, _FLOAT, _BFLOAT, _BOOL = 0, 1, 2, 4, 6
_TYPES = {
    (_BOOL, 8): DataType.BOOL,
    (_UINT, 8): DataType.UINT8,
    (_UINT, 16): DataType.UINT16,
    (_UINT, 32): DataType.UINT32,
    (_UINT, 64): DataType.UINT64,
    (_INT, 8): DataType.INT8,
    (_INT, 16): DataType.INT16,
    (_INT, 32): DataType.INT32,
    (_INT, 64): DataType.INT64,
    (_FLOAT, 16): DataType.FP16,
    (_FLOAT, 32): DataType.FP32,
    (_FLOAT, 64): DataType.FP64,
    (_BFLOAT, 16): DataType.BF16,
}
_CODES = {datatype: code for code, datatype in _TYPES.items()}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (("dl_tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_api = ctypes.pythonapi
_is_valid = _api.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_pointer = _api.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# The same two for a capsule that is being freed, of which no new reference may be made.
_is_valid_dying = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer_dying = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))


@dataclass(frozen=True, slots=True)
class Received:
    """A tensor that somebody's `__dlpack__` gave. Its memory is valid as long as `capsule` is held."""

    data_type: DataType
    shape: tuple[int, ...]
    address: int
    device_type: DLDeviceType
    device_id: int
    capsule: Any


def receive(capsule: Any) -> Received:
    """What is in a capsule, which stays unconsumed: its owner frees the tensor when nobody holds the capsule any more.

    Raises InvalidArgumentError for what is no such capsule, a data type that Triton does not have, a device whose
    memory cannot be had here, or elements that do not lie in row-major order without gaps.
    """
    try:
        valid = _is_valid(capsule, _NAME)
    except (ctypes.ArgumentError, TypeError):
        valid = 0
    if not valid:
        raise InvalidArgumentError("DLPack: expected an unused capsule named 'dltensor', as __dlpack__() returns it")
    tensor = ctypes.cast(_pointer(capsule, _NAME), ctypes.POINTER(_DLManagedTensor)).contents.dl_tensor
    data_type = _TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if data_type is None:
        raise InvalidArgumentError(
            f"DLPack data type (code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes) has no Triton data type; "
            "convert the tensor first"
        )
    shape = tuple(tensor.shape[: tensor.ndim])
    if tensor.strides and not _is_contiguous(shape, tensor.strides[: tensor.ndim]):
        raise InvalidArgumentError(
            "DLPack: the tensor's elements must lie in row-major order without gaps; make it contiguous first"
        )
    try:
        device_type = DLDeviceType(tensor.device_type)
    except ValueError:
        raise InvalidArgumentError(
            f"DLPack device type {tensor.device_type} is not supported: copy the tensor to the CPU first"
        ) from None
    return Received(
        data_type, shape, (tensor.data or 0) + tensor.byte_offset, device_type, int(tensor.device_id), capsule
    )


def _is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    if 0 in shape:
        return True
    expected = 1
    for dim, stride in zip(reversed(shape), reversed(strides), strict=True):
        if dim != 1 and stride != expected:
            return False
        expected *= dim
    return True


# ---- writing


_sent: dict[int, tuple[object, ...]] = {}  # by the address of a tensor that somebody has: what it needs


def _forget(address: int) -> None:
    _sent.pop(address, None)


def _unused(capsule: int) -> None:
    """The capsule goes; unless a consumer has taken the tensor (and renamed the capsule), that goes too."""
    if _is_valid_dying(capsule, _NAME):
        _sent.pop(_pointer_dying(capsule, _NAME), None)


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)
_DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_unused)


def send(data_type: DataType, shape: Sequence[int], address: int, owner: object) -> Any:
    """A capsule of contiguous memory of the host. `owner` is held until the consumer is done with it."""
    code, bits = _CODES[data_type]
    dims = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    managed = _DLManagedTensor()
    tensor = managed.dl_tensor
    tensor.data, tensor.ndim, tensor.shape = address, len(shape), dims
    tensor.device_type, tensor.device_id = DLDeviceType.kDLCPU, 0
    tensor.code, tensor.bits, tensor.lanes = code, bits, 1
    managed.deleter = ctypes.cast(_DELETER, ctypes.c_void_p)
    place = ctypes.addressof(managed)
    _sent[place] = managed, dims, owner
    return _new(place, _NAME, ctypes.cast(_DESTRUCTOR, ctypes.c_void_p))
