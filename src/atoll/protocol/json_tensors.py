"""Tensor data in JSON: lists of plain values to arrays, and arrays to JSON text."""

from itertools import chain
from typing import Any

import numpy as np
import orjson

from atoll.errors import InternalError, InvalidArgumentError
from atoll.protocol import json_text
from atoll.protocol.integers import narrowed
from atoll.tensor import Array, DataType, Tensor, element_count, pack_bytes

_QUICK_LEVELS = 8  # tensors have no more dimensions than this in practice; deeper or ragged data goes a slower way

_NOT_THE_TYPE = {
    "i": "attempt to access JSON non-signed-integer as signed-integer",
    "u": "attempt to access JSON non-unsigned-integer as unsigned-integer",
    "f": "attempt to access JSON non-number as double",
    "b": "attempt to access JSON non-boolean as boolean",
}


def tensor_from_json(data: Any, datatype: DataType, shape: tuple[int, ...], name: str) -> Tensor:
    """The tensor of a JSON `data` member, which may be flat or nested in any way; a shape of no elements takes none.

    Raises InternalError, with the real server's words, where an element has the wrong JSON type or their number is
    not the shape's; InvalidArgumentError where a number does not fit the data type (the real server would wrap it
    around silently), and for FP16 and BF16.
    """
    if datatype is DataType.FP16 or datatype is DataType.BF16:
        raise InvalidArgumentError(
            f"receiving {datatype.protocol_name} data via JSON is not supported. "
            f"Please use the binary data format for input {name}"
        )
    if type(data) is not list:
        raise InternalError("Unable to parse 'data': attempt to access JSON non-array as array")
    flat, types = _flatten(data)
    count = element_count(shape)
    if not count:
        return Tensor(name, datatype, shape, array=np.empty(shape, datatype.dtype))
    if datatype is DataType.BYTES:
        strings = _bytes_array(flat, types)
        if len(strings) != count:  # packed, it is refused by the engine, which has the real server's words for that
            return Tensor(name, datatype, shape, buffer=pack_bytes(strings))
        return Tensor(name, datatype, shape, array=strings.reshape(shape))
    if len(flat) != count:
        read = flat[:count]  # so far the real server reads before it counts
        _check(read, set(map(type, read)), datatype)
        raise InternalError("Unable to parse 'data': Shape does not match true shape of 'data' field")
    return Tensor(name, datatype, shape, array=_convert(flat, types, datatype, name).reshape(shape))


def json_from_array(array: Array, datatype: DataType) -> bytes:
    """The JSON text of a tensor's data: always one flat list, in row-major order.

    Raises InvalidArgumentError for FP16 and BF16.
    """
    if datatype is DataType.BYTES:
        return json_text.dump([element.decode("utf-8", "surrogateescape") for element in array.ravel().tolist()])
    if datatype is DataType.FP16 or datatype is DataType.BF16:
        raise InvalidArgumentError(
            f"sending {datatype.protocol_name} data via JSON is not supported. "
            "Please use the binary data format for output"
        )
    flat = np.ascontiguousarray(array).reshape(-1)
    if datatype is DataType.FP32:
        with np.errstate(invalid="ignore"):  # of a signalling NaN, which is sent like any other
            flat = flat.astype(np.float64)  # the real server prints the exact value, not the shortest that reads back
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return json_text.dump(flat.tolist())
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)


def _flatten(data: list[Any]) -> tuple[list[Any], set[type]]:
    types = set(map(type, data))
    for _ in range(_QUICK_LEVELS):
        if list not in types:
            return data, types
        if len(types) > 1:
            break
        data = list(chain.from_iterable(data))
        types = set(map(type, data))
    flat = []
    unfinished = [iter(data)]
    while unfinished:
        for element in unfinished[-1]:
            if type(element) is list:
                unfinished.append(iter(element))
                break
            flat.append(element)
        else:
            unfinished.pop()
    return flat, set(map(type, flat))


def _check(flat: list[Any], types: set[type], datatype: DataType) -> None:
    kind = datatype.dtype.kind
    allowed: set[type] = {bool} if kind == "b" else {int, float} if kind == "f" else {int}
    if not types <= allowed or (kind == "u" and flat and min(flat) < 0):
        raise InternalError(f"Unable to parse 'data': {_NOT_THE_TYPE[kind]}")


def _convert(flat: list[Any], types: set[type], datatype: DataType, name: str) -> Array:
    kind = datatype.dtype.kind
    _check(flat, types, datatype)
    if kind == "f":
        with np.errstate(over="ignore"):  # beyond FP32 is infinity, as in the real server
            return np.array(flat, dtype=np.float64).astype(datatype.dtype, copy=False)
    if kind == "b":
        return np.array(flat, dtype=np.bool_)
    if flat and kind == "i" and max(flat) > np.iinfo(np.int64).max:
        raise InternalError(f"Unable to parse 'data': {_NOT_THE_TYPE[kind]}")
    wide = np.array(flat, dtype=np.uint64 if kind == "u" else np.int64)
    return narrowed(wide, datatype, name)


def _bytes_array(flat: list[Any], types: set[type]) -> Array:
    if not types <= {str}:
        raise InternalError("Unable to parse JSON bytes array: attempt to access JSON non-string as string")
    array = np.empty(len(flat), dtype=np.object_)
    array[:] = [text.encode("utf-8", "surrogateescape") for text in flat]
    return array
