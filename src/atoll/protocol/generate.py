"""The body of a generate request, decoded: each member of one JSON object is an input of the model, or a parameter.

Source: Triton's generate extension. The rules by which a value becomes a tensor, the error texts and their codes are
those of the real server; only there the parameters of a sequence mean nothing, and here they do.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from atoll.config.model_config import ModelConfig
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.protocol import json_text
from atoll.protocol.json_tensors import tensor_from_json
from atoll.request import Parameter
from atoll.tensor import DataType, Tensor

NESTED = "parameters"
"""The member whose own members are taken as if they stood beside it."""

_Specs: TypeAlias = Mapping[str, tuple[DataType, tuple[int, ...]]]

_LARGEST_INT64 = 2**63 - 1
_STRING = "attempt to access JSON non-string as string"
_BOOLEAN = "attempt to access JSON non-boolean as boolean"


class GenerateBody:
    """What the body of a generate request says. An id at the top is a parameter, too."""

    __slots__ = ("id", "inputs", "parameters")

    def __init__(self, id: str):
        self.id = id
        self.inputs: dict[str, Tensor] = {}
        self.parameters: dict[str, Parameter] = {}


def decode_generate(body: memoryview, config: ModelConfig) -> GenerateBody:
    """Read the JSON; whether all inputs are there, and of the right size, the engine says. Raises AtollError."""
    document = json_text.parse(body)
    if type(document) is not dict:
        raise InternalError("attempt to get members for non-object")
    request_id = document.get("id", "")
    if type(request_id) is not str:
        raise InternalError(f"Unable to parse 'id': {_STRING}")
    result = GenerateBody(request_id)
    batch: tuple[int, ...] = (-1,) if config.max_batch_size else ()
    specs = {spec.name: (spec.data_type, (*batch, *spec.dims)) for spec in config.input}
    for name, value in document.items():
        if name == NESTED:
            _read_nested(value, specs, result)
        else:
            _read_member(name, value, specs, result)
    return result


def _read_nested(members: Any, specs: _Specs, result: GenerateBody) -> None:
    if NESTED in specs:
        raise InvalidArgumentError(f"Keyword '{NESTED}' for nested schema also given as input tensor name")
    if type(members) is not dict:
        raise InternalError(
            f"Expected JSON object for keyword: '{NESTED}': attempt to access JSON non-object as object"
        )
    for name, value in members.items():
        try:
            _read_member(name, value, specs, result)
        except AtollError as error:
            raise type(error)(f"Converting keyword: '{NESTED}': {error}") from None


def _read_member(name: str, value: Any, specs: _Specs, result: GenerateBody) -> None:
    spec = specs.get(name)
    if spec is None:
        result.parameters[name] = _parameter(name, value)
        return
    if name in result.inputs:
        raise InvalidArgumentError(
            f"[request id: {result.id or '<id_unknown>'}] input '{name}' already exists in request"
        )
    datatype, dims = spec
    data = value if type(value) is list else [value]
    result.inputs[name] = tensor_from_json(data, datatype, _shape(name, len(data), dims), name)


def _parameter(name: str, value: Any) -> Parameter:
    kind = type(value)
    if kind is int:
        if name == "sequence_id":
            if value < 0:
                raise InternalError(f"Unable to parse '{name}': {_STRING}")
        elif value > _LARGEST_INT64:
            return float(value)
    elif kind not in (str, bool, float):
        raise InvalidArgumentError(
            f"parameter '{name}' has invalid type. It should be either 'int', 'bool', or 'string'."
        )
    elif name == "sequence_id" and kind is not str:
        raise InternalError(f"Unable to parse '{name}': {_STRING}")
    if name in ("sequence_start", "sequence_end") and kind is not bool:
        raise InternalError(f"Unable to parse '{name}': {_BOOLEAN}")
    return value  # type: ignore[no-any-return]


def _shape(name: str, count: int, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Of `count` elements: the innermost variable dimension takes what the fixed ones leave, the other ones are 1.

    Only the outermost list of a value is counted, so nested lists fit where each holds one element.
    """
    for dim in dims:
        if dim >= 0:
            if not dim or count % dim:
                raise _misfit(name)
            count //= dim
    shape = list(dims)
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] < 0:
            shape[axis], count = count, 1
    if count != 1:
        raise _misfit(name)
    return tuple(shape)


def _misfit(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"The schema can not convert input '{name}' to tensor with proper shape")
