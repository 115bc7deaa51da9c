"""Integers that a client spelled out, brought into the tensor's own type."""

import numpy as np

from atoll.errors import InvalidArgumentError
from atoll.tensor import Array, DataType


def narrowed(wide: Array, datatype: DataType, name: str) -> Array:
    """`wide` as an array of the data type. InvalidArgumentError where a number does not fit it.

    The real server goes on with another number then.
    """
    limits = np.iinfo(datatype.dtype)
    if wide.size and (wide.max() > limits.max or wide.min() < limits.min):
        raise InvalidArgumentError(
            f"data of input '{name}' does not fit {datatype.protocol_name}, whose range is {limits.min} to {limits.max}"
        )
    return wide.astype(datatype.dtype, copy=False)
