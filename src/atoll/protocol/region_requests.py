"""What the endpoints for regions take and answer, in JSON; the procedures' messages need no reading."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import InternalError, InvalidArgumentError
from atoll.protocol import json_text
from atoll.tensor import Buffer

HANDLE_BYTES = 64  # of a cudaIpcMemHandle_t

_MISSING = object()
_BAD_HANDLE = "'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t"
_LARGEST = 2**64 - 1


@dataclass(frozen=True, slots=True)
class SystemRegion:
    """`key`: the name of a shared memory object, as shm_open has it. The region is a part of it."""

    name: str
    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class CudaRegion:
    """`raw_handle`: a cudaIpcMemHandle_t, of memory that another process has on that device."""

    name: str
    raw_handle: bytes
    device_id: int
    byte_size: int


def system_from_json(name: str, body: Buffer) -> SystemRegion:
    """The body of POST /v2/systemsharedmemory/region/NAME/register.

    Raises InvalidArgumentError, InternalError, in the real server's words.
    """
    document = _document(body)
    key = _required(document, "key")
    if type(key) is not str:
        raise InternalError("attempt to access JSON non-string as string")
    offset = _unsigned(document.get("offset", 0))
    return SystemRegion(name, key, offset, _unsigned(_required(document, "byte_size")))


def cuda_from_json(name: str, body: Buffer) -> CudaRegion:
    """The same for memory of a GPU."""
    document = _document(body)
    handle = _required(document, "raw_handle")
    text = handle.get("b64", _MISSING) if type(handle) is dict else _MISSING
    if text is _MISSING:
        raise _absent("b64")
    if type(text) is not str:
        raise InternalError("attempt to access JSON non-string as string")
    numbers = []
    for key in ("byte_size", "device_id"):
        if key not in document:
            raise _absent(key)
        numbers.append(_unsigned(document[key]))
    try:
        raw_handle = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgumentError(_BAD_HANDLE) from None
    if len(raw_handle) != HANDLE_BYTES:
        raise InvalidArgumentError(f"{_BAD_HANDLE}: {HANDLE_BYTES} bytes, not {len(raw_handle)}")
    return CudaRegion(name, raw_handle, numbers[1], numbers[0])


def system_document(one: SystemRegion) -> dict[str, Any]:
    """What a status says of a region, in either protocol."""
    return {"name": one.name, "key": one.key, "offset": one.offset, "byte_size": one.byte_size}


def cuda_document(one: CudaRegion) -> dict[str, Any]:
    """The same for memory of a GPU: its handle is for who made it."""
    return {"name": one.name, "device_id": one.device_id, "byte_size": one.byte_size}


def regions_of_message(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The field of a status in a gRPC answer: by name."""
    return {"regions": {one["name"]: one for one in documents}}


def _document(body: Buffer) -> Mapping[str, Any]:
    document = json_text.parse(body)
    return document if type(document) is dict else {}


def _required(document: Mapping[str, Any], key: str) -> Any:
    value = document.get(key, _MISSING)
    if value is _MISSING:
        raise InvalidArgumentError(f"Shared memory register request has no '{key}' field")
    return value


def _absent(member: str) -> InternalError:
    return InternalError(f"attempt to access non-existing object member '{member}'")


def _unsigned(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise InternalError("attempt to access JSON non-unsigned-integer as unsigned-integer")
    return value
