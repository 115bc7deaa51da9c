"""DLPack tensors read without their library, and written where numpy cannot (BF16).

Source for who frees what: dlpack.h, version 0.x, and the Python array API standard.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from atoll.dlpack import (
    BFLOAT,
    BOOL,
    CPU,
    CUDA,
    CUDA_HOST,
    FLOAT,
    INT,
    NAME,
    UINT,
    DLTensor,
    is_contiguous,
    is_unused_capsule,
    shape_of,
    tensor_in,
)
from atoll.errors import InvalidArgumentError
from atoll.tritonserver.enums import DataType


class DLDeviceType(IntEnum):
    """Those of DLPack's devices whose memory can be had here."""

    kDLCPU = CPU  # noqa: N815 - DLPack's own names
    kDLCUDA = CUDA  # noqa: N815
    kDLCUDAHost = CUDA_HOST  # noqa: N815


_TYPES = {
    (BOOL, 8): DataType.BOOL,
    (UINT, 8): DataType.UINT8,
    (UINT, 16): DataType.UINT16,
    (UINT, 32): DataType.UINT32,
    (UINT, 64): DataType.UINT64,
    (INT, 8): DataType.INT8,
    (INT, 16): DataType.INT16,
    (INT, 32): DataType.INT32,
    (INT, 64): DataType.INT64,
    (FLOAT, 16): DataType.FP16,
    (FLOAT, 32): DataType.FP32,
    (FLOAT, 64): DataType.FP64,
    (BFLOAT, 16): DataType.BF16,
}
_CODES = {datatype: code for code, datatype in _TYPES.items()}


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (("dl_tensor", DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_api = ctypes.pythonapi
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# Asked of a capsule that is being freed, of which no new reference may be made.
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
    if not is_unused_capsule(capsule):
        raise InvalidArgumentError("DLPack: expected an unused capsule named 'dltensor', as __dlpack__() returns it")
    tensor = tensor_in(capsule)
    data_type = _TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if data_type is None:
        raise InvalidArgumentError(
            f"DLPack data type (code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes) has no Triton data type; "
            "convert the tensor first"
        )
    if not is_contiguous(tensor):
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
        data_type,
        shape_of(tensor),
        (tensor.data or 0) + tensor.byte_offset,
        device_type,
        int(tensor.device_id),
        capsule,
    )


# ---- writing


_sent: dict[int, tuple[object, ...]] = {}  # by the address of a tensor that somebody has: what it needs


def _forget(address: int) -> None:
    _sent.pop(address, None)


def _unused(capsule: int) -> None:
    """The capsule goes; unless a consumer has taken the tensor (and renamed the capsule), that goes too."""
    if _is_valid_dying(capsule, NAME):
        _sent.pop(_pointer_dying(capsule, NAME), None)


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
    return _new(place, NAME, ctypes.cast(_DESTRUCTOR, ctypes.c_void_p))
