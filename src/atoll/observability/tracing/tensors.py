"""A tensor's elements as traces write them: one text, the elements separated by commas, strings in quotes."""

from collections.abc import Iterable

import numpy as np

from atoll.tensor import Array, DataType, Tensor

_FLOATS = {DataType.FP16, DataType.FP32, DataType.FP64}


def tensor_entry(tensor: Tensor) -> dict[str, str]:
    """Name, elements, shape and data type, all of them texts."""
    return {
        "name": tensor.name,
        "data": ",".join(_elements(tensor.datatype, tensor.array())),
        "shape": ",".join(map(str, tensor.shape)),
        "dtype": tensor.datatype.protocol_name,
    }


def _elements(datatype: DataType, array: Array) -> Iterable[str]:
    if datatype is DataType.BF16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        datatype = DataType.FP32
    values = array.reshape(-1).tolist()
    if datatype is DataType.BYTES:
        return (f'"{_text(value)}"' for value in values)
    if datatype is DataType.BOOL:
        return (str(int(value)) for value in values)
    if datatype in _FLOATS:
        return (f"{value:g}" for value in values)
    return map(str, values)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
