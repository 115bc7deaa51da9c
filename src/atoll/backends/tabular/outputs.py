"""Which outputs a model has, what each is of, and in which type it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.backends.tabular.predictor import (
    CONTRIBUTIONS,
    DECISION,
    LEAVES,
    MARGIN,
    PREDICT,
    PROBABILITIES,
    TRANSFORM,
    VALUES,
    Method,
)
from atoll.tensor import Array, DataType, as_bytes_array

NAMES: Mapping[str, str] = {
    "LABEL": PREDICT,
    "PREDICTION": PREDICT,
    "PROBABILITIES": PROBABILITIES,
    "DECISION": DECISION,
    "TRANSFORMED": TRANSFORM,
    "VALUE": VALUES,
    "MARGIN": MARGIN,
    "LEAVES": LEAVES,
    "CONTRIBUTIONS": CONTRIBUTIONS,
}
"""The names of outputs that say what they are of, in any case of the letters; so do the methods' own names."""

_OWN_NAMES = {PREDICT: "LABEL", PROBABILITIES: "PROBABILITIES", DECISION: "DECISION", TRANSFORM: "TRANSFORMED"}
_FLOATS = (DataType.FP32, DataType.FP64, DataType.FP16)
_WHOLE = (
    *(DataType.INT64, DataType.INT32, DataType.INT16, DataType.INT8),
    *(DataType.UINT64, DataType.UINT32, DataType.UINT16, DataType.UINT8),
)
# By the kind of numpy type that a method gives: the types that it may be served in, the default first.
_SERVED = {
    "f": _FLOATS,
    "i": (*_WHOLE, *_FLOATS),
    "u": (*_WHOLE, *_FLOATS),
    "b": (DataType.BOOL, *_WHOLE, *_FLOATS),
    "U": (DataType.BYTES,),
    "S": (DataType.BYTES,),
    "O": (DataType.BYTES,),
}


@dataclass(frozen=True, slots=True)
class Output:
    """`width` are the dimensions after the batch's; None where they are not known before a request."""

    name: str
    method: str
    data_type: DataType
    width: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What a method gave for one row: the kind of its numpy type, and the dimensions after the batch's."""

    kind: str
    width: tuple[int, ...]


def default_outputs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Names and methods of a model whose configuration names no outputs."""
    if PREDICT in methods:
        wanted = [PREDICT, *[one for one in (PROBABILITIES, DECISION) if one in methods][:1]]
    else:
        wanted = [one for one in (TRANSFORM, DECISION, PROBABILITIES) if one in methods][:1]
    return [(_OWN_NAMES[one], one) for one in wanted]


def method_of(name: str, said: Mapping[str, str], methods: Sequence[str], alone: str) -> str | None:
    """What the output of that name is of: as the parameter `outputs` says, or the name itself; else `alone`, if that is
    not "". None where nothing tells.
    """
    if name in said:
        return said[name]
    found = NAMES.get(name.upper(), name.lower())
    if found in methods:
        return found
    return alone or None


def served_types(kind: str) -> tuple[DataType, ...]:
    """In which types a method's results of that numpy kind can be served, the default first."""
    return _SERVED.get(kind, ())


def plain(found: Any) -> Array:
    """A method's result as an array of at least two dimensions. Raises TypeError for several arrays."""
    if isinstance(found, (list, tuple)):
        raise TypeError("it gives several arrays, one for each target")
    if hasattr(found, "toarray"):  # sparse
        found = found.toarray()
    array = np.asarray(found)
    return array.reshape(-1, 1) if array.ndim == 1 else array


def giving(method: Method, data_type: DataType) -> Callable[[Any], Array]:
    """The method, with its results in that type."""
    if data_type is DataType.BYTES:
        return lambda rows: as_bytes_array(plain(method(rows)))
    dtype = data_type.dtype

    def give(rows: Any) -> Array:
        return plain(method(rows)).astype(dtype, copy=False)

    return give
