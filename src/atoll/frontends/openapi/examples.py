"""A request that a model will answer, made from its metadata."""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from atoll.config.metadata import ModelMetadata, TensorMetadata
from atoll.tensor import DataType

LARGEST: Final = 1024
"""Elements of all inputs together that an example may have: a larger one is no use to who reads."""

_NOT_IN_JSON = (DataType.FP16, DataType.BF16)


def infer_example(model: ModelMetadata) -> dict[str, Any] | None:
    """The body of an infer request; None where there is none that a person would type: large inputs, or data types that
    JSON cannot carry.
    """
    shapes = [_shape(one.shape) for one in model.inputs]
    if sum(prod(shape) for shape in shapes) > LARGEST or any(one.datatype in _NOT_IN_JSON for one in model.inputs):
        return None
    return {
        "inputs": [
            {
                "name": one.name,
                "datatype": one.datatype.protocol_name,
                "shape": shape,
                "data": _data(one.datatype, prod(shape)),
            }
            for one, shape in zip(model.inputs, shapes, strict=True)
        ]
    }


def generate_example(model: ModelMetadata) -> dict[str, Any] | None:
    """The body of a generate request; None where the inputs are more than a value or a list each."""
    if any(one.datatype in _NOT_IN_JSON or _length(one) is None for one in model.inputs):
        return None
    example: dict[str, Any] = {}
    for one in model.inputs:
        length = _length(one)
        assert length is not None, "looked at above. This is a bug"
        data = _data(one.datatype, length)
        example[one.name] = data[0] if length == 1 else data
    return example


def _length(tensor: TensorMetadata) -> int | None:
    shape = _shape(tensor.shape)
    count = prod(shape)
    return count if 0 < count <= LARGEST and count == max(shape, default=1) else None


def _shape(dims: Sequence[int]) -> list[int]:
    return [1 if dim < 0 else dim for dim in dims]


def _data(datatype: DataType, count: int) -> list[Any]:
    if datatype is DataType.BYTES:
        return [f"text {number}" for number in range(1, count + 1)]
    if datatype is DataType.BOOL:
        return [number % 2 == 0 for number in range(count)]
    if datatype in (DataType.FP32, DataType.FP64):
        return [number % 10 / 2 for number in range(count)]
    return [number % 10 for number in range(count)]
