"""Triton's classification extension: an output's highest values, as text, in the place of the output's own data.

Sources: Triton's classification extension document; the texts and the refusals are those of the real server.
"""

from collections.abc import Sequence
from math import copysign
from typing import Any, Final

import numpy as np

from atoll.errors import InvalidArgumentError
from atoll.tensor import Array, DataType, Tensor, element_count

MAX_STRINGS: Final = 1 << 20
"""Of one output: each takes a hundred bytes in memory, and one from FP64 can be 300 bytes long."""

_FLOATS: Final = frozenset({DataType.FP32, DataType.FP64})
_INTEGERS: Final = frozenset(
    {
        *(DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64),
        *(DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64),
    }
)
_FEW = 8
"""Values for each one that is wanted, from which on only the wanted ones are sorted."""


def classify(tensor: Tensor, count: int, labels: Sequence[str], batched: bool) -> Tensor:
    """The `count` highest values of each item of the batch, highest first, as BYTES: "value:index" or
    "value:index:label".

    An item's values are counted in row-major order. Its shape is [items, classes], [classes] where the model does not
    batch; an item with fewer values gives all it has. Of equal values the lower index comes first; NaN is the lowest.
    `labels[index]` names a class, "" does not. Raises InvalidArgumentError for data types whose values have no such
    text, and where there would be more than MAX_STRINGS.
    """
    datatype = tensor.datatype
    if datatype not in _FLOATS and datatype not in _INTEGERS:
        raise InvalidArgumentError(
            f"class result not available for output due to unsupported type '{datatype.protocol_name}'"
        )
    shape = tensor.shape
    batch = shape[:1] if batched else ()
    items = element_count(batch)
    size = element_count(shape[len(batch) :])
    count = min(count, size)
    if items * count > MAX_STRINGS:
        raise InvalidArgumentError(
            f"output '{tensor.name}' would have {items * count} classes, more than {MAX_STRINGS}: ask for fewer than "
            f"{count} or for the output's own data"
        )
    values = tensor.array().reshape(items, size)
    order = _highest(values, count)
    chosen: list[Any] = np.take_along_axis(values, order, axis=1).ravel().tolist()
    texts = map(_float_text, chosen) if datatype in _FLOATS else map(str, chosen)
    strings = np.empty(items * count, np.object_)
    strings[:] = [
        _string(text, index, labels).encode("utf-8", "surrogateescape")
        for text, index in zip(texts, order.ravel().tolist(), strict=True)
    ]
    whole = (*batch, count)
    return Tensor(tensor.name, DataType.BYTES, whole, array=strings.reshape(whole))


def _highest(values: Array, count: int) -> Array:
    """The indices of each row's `count` highest values, in their order."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            keys = -values
    else:
        keys = ~values  # turns the order round, as - cannot for unsigned numbers and the lowest signed one
    if not 0 < count <= values.shape[1] // _FEW:
        return np.argsort(keys, axis=1, kind="stable")[:, :count]
    bounds = np.partition(keys, count - 1, axis=1)[:, count - 1]
    order = np.empty((len(keys), count), np.intp)
    for row, (key, bound) in enumerate(zip(keys, bounds, strict=True)):
        if bound != bound:  # NaN: even some of those are among them
            order[row] = np.argsort(key, kind="stable")[:count]
            continue
        candidates = np.flatnonzero(key <= bound)  # more than `count` where values are equal
        order[row] = candidates[np.argsort(key[candidates], kind="stable")[:count]]
    return order


def _float_text(value: float) -> str:
    if value != value and copysign(1.0, value) < 0:
        return "-nan"  # as C prints it; it is what 0/0 gives on x86
    return f"{value:f}"


def _string(text: str, index: int, labels: Sequence[str]) -> str:
    label = labels[index] if index < len(labels) else ""
    return f"{text}:{index}:{label}" if label else f"{text}:{index}"
