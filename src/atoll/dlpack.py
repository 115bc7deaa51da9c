"""The layout of DLPack's tensors, and the capsules in which libraries hand them over.

Source: dlpack.h, version 0.x, and the Python array API standard. Child processes import this module too: the standard
library only, on Python 3.10 and later.
"""

from __future__ import annotations

import ctypes
from typing import Any

NAME = b"dltensor"
"""Of a capsule whose tensor nobody has taken yet."""

CPU, CUDA, CUDA_HOST = 1, 2, 3  # device types
INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6  # codes of data types


class DLTensor(ctypes.Structure):
    """DLTensor, with its DLDevice and DLDataType."""

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


def is_unused_capsule(thing: Any) -> bool:
    """Whether it is a capsule with a tensor that nobody has taken yet."""
    return bool(_is_valid(thing, NAME))


def tensor_in(capsule: Any) -> DLTensor:
    """The tensor of an unused capsule, in place: valid as long as that is held, and unused."""
    return DLTensor.from_address(_pointer(capsule, NAME))


def shape_of(tensor: DLTensor) -> tuple[int, ...]:
    """Its dimensions."""
    return tuple(tensor.shape[: tensor.ndim])


def is_contiguous(tensor: DLTensor) -> bool:
    """Whether its elements lie in row-major order without gaps."""
    shape = shape_of(tensor)
    if not tensor.strides or 0 in shape:
        return True
    expected = 1
    for axis in reversed(range(tensor.ndim)):
        if shape[axis] != 1 and tensor.strides[axis] != expected:
            return False
        expected *= shape[axis]
    return True
