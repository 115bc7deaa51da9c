"""Whether a condition of an ensemble's step (config/step_conditions.py) holds for a request. Pure."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from atoll.config.step_conditions import Comparison, Condition, Given, Joined, Not, Subject
from atoll.errors import InvalidArgumentError
from atoll.request import Parameter
from atoll.tensor import DataType, Tensor

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def holds(condition: Condition, tensors: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> bool:
    """`tensors` are those that are there. A comparison with something that is not there does not hold, whichever it is.

    Raises InvalidArgumentError where a tensor, or a parameter, cannot be compared in that way.
    """
    if isinstance(condition, Joined):
        if condition.every:
            return all(holds(part, tensors, parameters) for part in condition.parts)
        return any(holds(part, tensors, parameters) for part in condition.parts)
    if isinstance(condition, Not):
        return not holds(condition.inner, tensors, parameters)
    if isinstance(condition, Given):
        return condition.name in (parameters if condition.parameter else tensors)
    if condition.subject is Subject.PARAMETER:
        parameter = parameters.get(condition.name)
        return parameter is not None and _parameter(condition, parameter)
    tensor = tensors.get(condition.name)
    return tensor is not None and _tensor(condition, tensor)


def _parameter(condition: Comparison, found: Parameter) -> bool:
    value = condition.value
    if isinstance(found, str) != isinstance(value, str) or isinstance(found, bool) != isinstance(value, bool):
        raise InvalidArgumentError(
            f"parameter '{condition.name}' is {found!r}, and is compared with {_kind(value)}: {_text(condition)}"
        )
    return bool(_OPERATORS[condition.operator](found, value))


def _tensor(condition: Comparison, tensor: Tensor) -> bool:
    compare, value = _OPERATORS[condition.operator], condition.value
    if condition.subject is Subject.SIZE:
        size = 1
        for dim in tensor.shape:
            size *= dim
        return bool(compare(size, value))
    if condition.subject is Subject.SHAPE:
        if not -len(tensor.shape) <= condition.place < len(tensor.shape):
            raise InvalidArgumentError(
                f"tensor '{condition.name}' has shape {list(tensor.shape)}, which has no dimension "
                f"{condition.place}: {_text(condition)}"
            )
        return bool(compare(tensor.shape[condition.place], value))
    if (tensor.datatype is DataType.BYTES) != isinstance(value, str) or tensor.datatype is DataType.BF16:
        raise InvalidArgumentError(
            f"tensor '{condition.name}' is {tensor.datatype.protocol_name}, which cannot be compared with "
            f"{_kind(value)}: {_text(condition)}"
        )
    if tensor.datatype is DataType.BOOL and isinstance(value, int):
        value = bool(value) if value in (0, 1) else float(value)  # numpy compares them with small integers only
    array = tensor.array()
    with np.errstate(over="ignore"):  # a number that is too large for the tensor's type is infinite there
        answers = compare(array, value.encode() if isinstance(value, str) else value)
    if condition.subject is Subject.ANY:
        return bool(answers.any())
    if condition.subject is Subject.ALL:
        return bool(answers.all())
    if array.size != 1:
        raise InvalidArgumentError(
            f"tensor '{condition.name}' has {array.size} elements where the condition is about one; "
            f"any({condition.name}) and all({condition.name}) are about several: {_text(condition)}"
        )
    return bool(answers.item())


def _kind(value: bool | int | float | str) -> str:
    if isinstance(value, str):
        return "a text"
    return "a truth value" if isinstance(value, bool) else "a number"


def _text(condition: Comparison) -> str:
    name = condition.name
    if condition.subject is not Subject.ELEMENT:
        name = f"{condition.subject.value}({name})"
    if condition.subject is Subject.SHAPE:
        name += f"[{condition.place}]"
    value = condition.value
    text = ("true" if value else "false") if isinstance(value, bool) else f"{value!r}"
    return f"{name} {condition.operator} {text}"
