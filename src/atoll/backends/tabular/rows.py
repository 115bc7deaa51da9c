"""From a batch's inputs to the rows that a model takes: one matrix, or a column for each input."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.text import text_array
from atoll.tensor import Array, DataType

NUMBERS = (
    *(DataType.FP32, DataType.FP64, DataType.FP16, DataType.BOOL),
    *(DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64),
    *(DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64),
)
"""The types that rows of numbers may come in."""

Rows = Callable[[Mapping[str, Array]], Any]
MakeTable = Callable[[dict[str, Array]], Any]


def matrix_rows(name: str, *, as_floats: bool, make_table: MakeTable | None = None, names: Sequence[str] = ()) -> Rows:
    """The one input as it is; `as_floats`: as FP32 where it is neither that nor FP64. With `make_table`, as a table of
    those names.
    """

    def rows(inputs: Mapping[str, Array]) -> Any:
        found = inputs[name]
        if found.dtype == np.object_:
            found = text_array(name, found)
        elif as_floats and found.dtype not in (np.float32, np.float64):
            found = found.astype(np.float32)
        if make_table is None:
            return found
        return make_table({one: found[:, number] for number, one in enumerate(names)})

    return rows


def column_rows(names: Sequence[str], *, as_floats: bool, make_table: MakeTable | None = None) -> Rows:
    """A column for each input of that name, in that order: side by side in an array, or in a table of those names.

    Numbers of different types are held by the type that has room for all, strings and numbers as objects.
    """

    def rows(inputs: Mapping[str, Array]) -> Any:
        columns = {name: inputs[name] for name in names}
        for name, one in columns.items():
            if one.dtype == np.object_:
                columns[name] = text_array(name, one)
        if make_table is not None:
            return make_table({name: one.reshape(len(one)) for name, one in columns.items()})
        if any(one.dtype == np.object_ for one in columns.values()):
            return np.concatenate([one.astype(np.object_) for one in columns.values()], axis=1)
        found = np.concatenate(list(columns.values()), axis=1)
        if as_floats and found.dtype not in (np.float32, np.float64):
            found = found.astype(np.float32)
        return found

    return rows
