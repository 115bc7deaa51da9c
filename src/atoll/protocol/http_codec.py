"""The body of an HTTP inference request, decoded: JSON, binary tensors, or both.

Sources: the KServe v2 protocol and Triton's binary tensor data, parameters and schedule policy extensions; the error
texts and their codes are those of the real server.
"""

from collections.abc import Mapping
from typing import Any

from atoll.config.model_config import ModelConfig
from atoll.errors import InternalError, InvalidArgumentError
from atoll.protocol import json_text
from atoll.protocol.json_tensors import tensor_from_json
from atoll.protocol.shared_memory import (
    NO_REGIONS,
    REGION,
    Placement,
    Regions,
    check_without_region,
    output_place_from_json,
    place_from_json,
)
from atoll.request import Parameter
from atoll.scheduling.sequences.facts import check_text_id
from atoll.tensor import BY_PROTOCOL_NAME, Buffer, DataType, Tensor, element_count

MAX_ELEMENTS = 2**60 - 1  # what 8-byte elements may number in a 63-bit byte count
MAX_DIMENSIONS = 32  # what every numpy takes; none of the runtimes takes more

_MISSING = object()
_EMPTY: Mapping[str, Any] = {}
_INTEGER = "attempt to access JSON non-unsigned-integer as unsigned-integer"
_STRING = "attempt to access JSON non-string as string"
_ARRAY = "attempt to access JSON non-array as array"
_BOOLEAN = "attempt to access JSON non-boolean as boolean"


class OutputForm:
    """In which form each output goes back: binary or JSON. `binary` overrides `binary_default` by output name.

    `classes`: how many classes of each item are wanted in place of the data, by output name; None where none are.
    """

    __slots__ = ("binary", "binary_default", "classes")

    def __init__(self, binary_default: bool = False, binary: dict[str, bool] | None = None):
        self.binary_default = binary_default
        self.binary: dict[str, bool] = binary if binary is not None else {}
        self.classes: dict[str, int] | None = None


class InferBody:
    """What the body of an inference request says. `placement`: its tensors in shared memory; None where none are."""

    __slots__ = ("form", "id", "inputs", "output_names", "parameters", "placement", "priority", "timeout_us")

    def __init__(self, form: OutputForm | None = None) -> None:
        self.id = ""
        self.inputs: dict[str, Tensor] = {}
        self.output_names: tuple[str, ...] = ()
        self.parameters: dict[str, Parameter] | None = None
        self.priority = 0
        self.timeout_us = 0
        self.placement: Placement | None = None
        self.form = OutputForm() if form is None else form


def decode_infer(body: memoryview, header_length: int, model_name: str, regions: Regions = NO_REGIONS) -> InferBody:
    """Read `header_length` bytes of JSON and the binary tensors that follow them.

    Tensors' buffers are views of `body`, or of shared memory; nothing is checked against the model. Raises AtollError.
    """
    document = json_text.parse(body[:header_length])
    if type(document) is not dict:
        raise _absent("inputs")
    result = InferBody()
    request_id = document.get("id", "")
    if type(request_id) is not str:
        raise InternalError(f"Unable to parse 'id': {_STRING}")
    result.id = request_id
    parameters = document.get("parameters", _MISSING)
    if parameters is not _MISSING:
        _read_parameters(parameters, result)
    inputs = document.get("inputs", _MISSING)
    if type(inputs) is not list:
        if inputs is _MISSING:
            raise _absent("inputs")
        raise InternalError(f"Unable to parse 'inputs': {_ARRAY}")
    _read_inputs(inputs, body, header_length, result, model_name, regions)
    outputs = document.get("outputs", _MISSING)
    if outputs is not _MISSING:
        _read_outputs(outputs, result, regions)
    return result


def decode_raw(body: memoryview, config: ModelConfig) -> InferBody:
    """A request without JSON: the body is the data of the model's only input; its configuration gives the shape.

    Raises InvalidArgumentError where it cannot be.
    """
    if len(config.input) != 1:
        raise InvalidArgumentError(
            "[request id: <id_unknown>] Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(config.input)} inputs in '{config.name}' model configuration"
        )
    (spec,) = config.input
    shape = [1, *spec.dims] if config.max_batch_size else list(spec.dims)
    fixed = element_count(dim for dim in shape if dim >= 0)
    variable = [axis for axis, dim in enumerate(shape) if dim < 0]
    data: Buffer = body
    if spec.data_type is DataType.BYTES:
        if variable or fixed != 1:
            raise InvalidArgumentError(
                f"[request id: <id_unknown>] For BYTE datatype raw input '{spec.name}', "
                "the model must have input shape [1]"
            )
        data = len(body).to_bytes(4, "little") + bytes(body)
    elif len(variable) > 1:
        raise InvalidArgumentError(
            f"[request id: <id_unknown>] The shape of the raw input '{spec.name}' can not be deduced because there are "
            "more than one variable-sized dimension"
        )
    elif variable:
        shape[variable[0]] = len(body) // max(fixed * spec.data_type.size, 1)
    result = InferBody()
    result.inputs[spec.name] = Tensor(spec.name, spec.data_type, tuple(shape), buffer=data)
    result.form = OutputForm(binary_default=len(body) > 0)
    return result


def _absent(member: str) -> InternalError:
    return InternalError(f"Unable to parse '{member}': attempt to access non-existing object member '{member}'")


def _read_inputs(
    inputs: list[Any], body: memoryview, position: int, result: InferBody, model_name: str, regions: Regions
) -> None:
    found = result.inputs
    end = len(body)
    for one in inputs:
        if type(one) is not dict:
            one = _EMPTY
        parameters = one.get("parameters", _EMPTY)
        if type(parameters) is not dict:
            parameters = _EMPTY
        size = parameters.get("binary_data_size", _MISSING)
        data = one.get("data", _MISSING)
        placed = False
        if (size is _MISSING) is (data is _MISSING) or REGION in parameters:
            placed = _is_placed(one, parameters)
        elif len(parameters) > (size is not _MISSING):
            check_without_region(parameters)
        name = one.get("name", _MISSING)
        if type(name) is not str:
            raise (_absent("name") if name is _MISSING else InternalError(f"Unable to parse 'name': {_STRING}"))
        type_name = one.get("datatype", _MISSING)
        if type(type_name) is not str:
            raise (
                _absent("datatype")
                if type_name is _MISSING
                else InternalError(f"Unable to parse 'datatype': {_STRING}")
            )
        datatype: DataType | None = BY_PROTOCOL_NAME.get(type_name)
        if datatype is None:
            if not placed:
                raise InvalidArgumentError(f"invalid datatype for input {name}")
            datatype = DataType.INVALID  # the engine refuses it, as it knows what the model expects
        shape = _read_shape(one.get("shape", _MISSING), name)
        if name in found:
            raise InvalidArgumentError(
                f"[request id: {result.id or '<id_unknown>'}] input '{name}' already exists in request"
            )
        if placed:
            if result.placement is None:
                result.placement = Placement(regions)
            data = result.placement.input(name, place_from_json(parameters), datatype)
            found[name] = Tensor(name, datatype, shape, buffer=data)
            continue
        if size is _MISSING:
            found[name] = tensor_from_json(data, datatype, shape, name)
            continue
        if type(size) is not int or size < 0:
            raise InternalError(f"Unable to parse 'binary_data_size': {_INTEGER}")
        if size > end - position:
            raise InvalidArgumentError(
                f"unexpected size for input '{name}', expecting {size - (end - position)} additional bytes "
                f"for model '{model_name}'"
            )
        found[name] = Tensor(name, datatype, shape, buffer=body[position : position + size])
        position += size
    if position != end:
        raise InvalidArgumentError(f"unexpected additional input data for model '{model_name}'")


def _is_placed(one: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """True of an input whose data is in shared memory. Raises where it is nowhere, or in more than one place."""
    present = [key for key, holder in _SOURCES if key in (one if holder == "input" else parameters)]
    if present == [REGION]:
        return True
    listed = " ".join(f"'{key}'" for key in present)
    raise InvalidArgumentError(
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
        f"'shared_memory_region' in 'parameters'. But {f'set {listed}' if present else 'no field is set'}"
    )


_SOURCES = (("data", "input"), ("binary_data_size", "parameters"), (REGION, "parameters"))


def _read_shape(shape: Any, name: str) -> tuple[int, ...]:
    if type(shape) is not list:
        raise (_absent("shape") if shape is _MISSING else InternalError(f"Unable to parse 'shape': {_ARRAY}"))
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidArgumentError(f"shape of input '{name}' has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    volume = 1
    for dim in shape:
        if type(dim) is not int or dim < 0:
            raise InternalError(f"Unable to parse 'shape': {_INTEGER}")
        volume *= dim or 1
    if volume > MAX_ELEMENTS:
        raise InvalidArgumentError(f"shape of input '{name}' is too large: it has more elements than can be addressed")
    return tuple(shape)


def _read_parameters(parameters: Any, result: InferBody) -> None:
    if type(parameters) is not dict:
        raise InternalError("failed to get request params.: attempt to get members for non-object")
    kept: dict[str, Parameter] = {}
    for key, value in parameters.items():
        kind = type(value)
        if key == "binary_data_output":
            if kind is not bool:
                raise InternalError(f"Unable to parse '{key}': {_BOOLEAN}")
            result.form.binary_default = value
        elif key == "priority" or key == "timeout":
            if kind is not int or value < 0:
                raise InternalError(f"Unable to parse '{key}': {_INTEGER}")
            if key == "priority":
                result.priority = value
            else:
                result.timeout_us = value
        else:
            if key == "sequence_start" or key == "sequence_end":
                if kind is not bool:
                    raise InternalError(f"Unable to parse '{key}': {_BOOLEAN}")
            elif key == "sequence_id":
                if kind is str:
                    check_text_id(value)
                elif kind is not int or value < 0:
                    raise InternalError(f"Unable to parse '{key}': {_STRING}")
            elif key.startswith("triton_"):
                raise InvalidArgumentError(
                    "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
                )
            elif kind not in (str, bool, int, float):
                raise InvalidArgumentError(
                    f"parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'."
                )
            kept[key] = value
    if kept:
        result.parameters = kept


def _read_outputs(outputs: Any, result: InferBody, regions: Regions) -> None:
    if type(outputs) is not list:
        raise InternalError(f"Unable to parse 'outputs': {_ARRAY}")
    binary = result.form.binary
    for one in outputs:
        name = one.get("name", _MISSING) if type(one) is dict else _MISSING
        if type(name) is not str:
            raise (_absent("name") if name is _MISSING else InternalError(f"Unable to parse 'name': {_STRING}"))
        parameters = one.get("parameters", _EMPTY)
        wanted = False  # an output that is named is JSON unless it says otherwise, whatever binary_data_output says
        if type(parameters) is dict and parameters:
            if REGION in parameters:
                _place_output(name, parameters, result, regions)
                continue
            wanted = parameters.get("binary_data", False)
            if type(wanted) is not bool:
                raise InternalError(f"Unable to parse 'binary_data': {_BOOLEAN}")
            if len(parameters) > 1 or "binary_data" not in parameters:
                classes = _read_classes(parameters)
                if classes and name not in binary:
                    result.form.classes = {**(result.form.classes or {}), name: classes}
        binary.setdefault(name, wanted)  # named twice: the first one counts, as in the real server
    result.output_names = tuple(binary)


def _place_output(name: str, parameters: Mapping[str, Any], result: InferBody, regions: Regions) -> None:
    place = output_place_from_json(parameters)
    if name in result.form.binary:
        return  # named twice
    result.form.binary[name] = False
    if result.placement is None:
        result.placement = Placement(regions)
    result.placement.output(name, place)


def _read_classes(parameters: dict[str, Any]) -> int:
    """How many classes are asked for; 0 means the data itself."""
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 1 << 64:
        raise InternalError(f"Unable to set 'classification': {_INTEGER}")
    return classes
