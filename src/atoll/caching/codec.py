"""An answer as bytes and back: what every cache keeps. Pure.

Layout, little-endian: 4 bytes that name the format, the length of a JSON header as uint32, the header, then the
outputs' data in their order, in the wire form (tensor.py). The header is a list of two: what each output is, as
[name, number of the data type, shape, bytes], and the parameters.
"""

import struct
from typing import Any

import orjson

from atoll.caching.api import Entry
from atoll.errors import AtollError
from atoll.request import Parameter
from atoll.tensor import BY_NUMBER, Buffer, DataType, Tensor, element_count, unpack_bytes

_FORMAT = b"AtC1"
_START = struct.Struct("<4sI")
_MOST_HEADER_BYTES = 1 << 20
_MOST_DIMENSIONS = 64  # numpy has no more
_LARGEST_SIZE = 1 << 48  # of a dimension or a product of them: nobody's memory, and far from overflows


class UnfitError(Exception):
    """An answer that cannot be kept as it is, or bytes that are no answer: the text says why."""


def encode(outputs: list[Tensor], parameters: dict[str, Parameter], most_bytes: int = 0) -> bytes:
    """The answer's bytes. Raises UnfitError for parameters that JSON cannot say, and for more than `most_bytes`."""
    described: list[Any] = []
    data: list[Buffer] = []
    total = _START.size
    for tensor in outputs:
        packed = tensor.packed()
        data.append(packed)
        total += len(packed)
        described.append((tensor.name, tensor.datatype.number, tensor.shape, len(packed)))
    for value in parameters.values():
        if isinstance(value, float) and value - value != 0:
            raise UnfitError("a parameter of the response is not a finite number")
    try:
        header = orjson.dumps((described, parameters))
    except TypeError as error:  # JSONEncodeError is one
        raise UnfitError(f"the response has a parameter or a shape that cannot be written: {error}") from error
    total += len(header)
    if len(header) > _MOST_HEADER_BYTES or 0 < most_bytes < total:
        raise UnfitError(f"the response takes {total} bytes, {most_bytes or _MOST_HEADER_BYTES} is the most")
    return b"".join((_START.pack(_FORMAT, len(header)), header, *data))


def decode(entry: Entry, *, trusted: bool = False) -> tuple[list[Tensor], dict[str, Parameter]]:
    """The outputs, as views of the entry, and the parameters.

    Raises UnfitError for anything that `encode` does not make; `trusted` bytes are its own, and looked at less closely.
    """
    size = len(entry)
    if size < _START.size:
        raise UnfitError(f"{size} bytes are too few")
    format_, length = _START.unpack_from(entry)
    if format_ != _FORMAT or length > _MOST_HEADER_BYTES or length > size - _START.size:
        raise UnfitError("it does not begin as an entry does")
    view = memoryview(entry)
    position = _START.size + length
    try:
        described, parameters = orjson.loads(view[_START.size : position])
        outputs = []
        for name, number, shape, byte_size in described:
            datatype = BY_NUMBER[number]
            if not trusted:
                _check(name, datatype, shape, byte_size, size - position)
            end = position + byte_size
            data = view[position:end]
            if not trusted and datatype is DataType.BYTES:
                unpack_bytes(data, element_count(shape), name)
            outputs.append(Tensor(name, datatype, tuple(shape), buffer=data))
            position = end
    except (ValueError, TypeError, KeyError, AtollError) as error:  # JSONDecodeError is a ValueError
        raise UnfitError(f"{type(error).__name__}: {error}") from error
    if position != size:
        raise UnfitError(f"{size - position} bytes follow what its header describes")
    if not trusted:
        _check_parameters(parameters)
    return outputs, parameters


def _check(name: object, datatype: DataType, shape: object, byte_size: object, left: int) -> None:
    if not isinstance(name, str) or datatype is DataType.INVALID:
        raise UnfitError("an output has no name or no type")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        raise UnfitError(f"the shape of output '{name}' is none")
    if type(byte_size) is not int or not 0 <= byte_size <= left:
        raise UnfitError(f"the data of output '{name}' is not there in whole")
    elements = 1
    for dim in shape:
        if type(dim) is not int or not 0 <= dim <= _LARGEST_SIZE:
            raise UnfitError(f"the shape of output '{name}' is none")
        elements *= dim
        if elements > _LARGEST_SIZE:
            raise UnfitError(f"the shape of output '{name}' is none")
    if datatype.size and elements * datatype.size != byte_size:
        raise UnfitError(f"the data of output '{name}' does not fit its shape")


def _check_parameters(parameters: object) -> None:
    if not isinstance(parameters, dict):
        raise UnfitError("its parameters are none")
    for value in parameters.values():
        if not isinstance(value, (bool, int, float, str)):
            raise UnfitError("its parameters are none")
