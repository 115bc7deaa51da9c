"""The engine's request of a ModelInferRequest that has been read."""

from dataclasses import replace
from typing import Any, Final

from atoll.errors import InvalidArgumentError
from atoll.protocol.grpc_message import InferMessage
from atoll.protocol.grpc_parameters import Parameters, read_output_parameters, read_parameters
from atoll.protocol.grpc_tensors import datatype_named, typed_tensor
from atoll.protocol.shared_memory import (
    NO_REGIONS,
    Place,
    PlacedInput,
    PlacedOutput,
    Placement,
    Regions,
    place_from_message,
)
from atoll.request import Defer, InferenceRequest, ResponseSender
from atoll.tensor import Tensor

NO_PARAMETERS: Final = Parameters()


def build_request(
    message: InferMessage, sender: ResponseSender, defer: Defer | None, regions: Regions = NO_REGIONS
) -> tuple[InferenceRequest, Parameters]:
    """The engine's request of a message, and those of its parameters that are the frontend's own affair.

    InvalidArgumentError, NotFoundError and UnsupportedError, in the real server's words, for what is wrong with the
    message itself; the tensors are the engine's to check. Those in shared memory are looked for in `regions`. A
    typed tensor becomes an array; one with the wrong number of elements, packed data for the engine to refuse.
    """
    raw = message.raw
    given = len(raw)
    taken = 0
    placement: Placement | None = None
    inputs: dict[str, Tensor] = {}
    for entry in message.inputs:
        if isinstance(entry, tuple):
            name, datatype, shape = entry
        else:
            if not isinstance(entry, PlacedInput):
                entry = _input(entry, message.model_name)
            if isinstance(entry, PlacedInput):
                if placement is None:
                    placement = Placement(regions)
                data = placement.input(entry.name, entry.place, entry.datatype)
                inputs[entry.name] = Tensor(entry.name, entry.datatype, entry.shape, buffer=data)
                continue
            name, datatype, shape = entry.name, datatype_named(entry.datatype), tuple(entry.shape)
            if entry.HasField("contents"):
                if given:
                    raise InvalidArgumentError(
                        f"contents field must not be specified when using raw_input_contents for '{name}' "
                        f"for model '{message.model_name}'"
                    )
                inputs[name] = typed_tensor(name, datatype, shape, entry.contents, message.model_name)
                continue
        if taken == given:
            raise InvalidArgumentError(
                f"unable to find data for input tensor '{name}' for model '{message.model_name}' in request."
            )
        inputs[name] = Tensor(name, datatype, shape, buffer=raw[taken])
        taken += 1
    if len(inputs) != len(message.inputs):
        raise _repeated_input(message)
    names: list[str] = []
    classes: dict[str, int] | None = None
    for output in message.outputs:
        if not isinstance(output, str):
            if isinstance(output, PlacedOutput):
                wanted: int | Place = output.place
            else:
                wanted = read_output_parameters(output)
            output = output.name
            if isinstance(wanted, Place):
                if placement is None:
                    placement = Placement(regions)
                if output not in names:
                    placement.output(output, wanted)
            elif wanted:
                classes = {output: wanted, **(classes or {})}  # named twice: the first one that asks counts
        names.append(output)
    request = InferenceRequest(
        message.model_name,
        inputs,
        sender,
        model_version=message.model_version,
        id=message.id,
        output_names=tuple(dict.fromkeys(names)) if names else (),  # the real server takes a name twice as once
        defer=defer,
    )
    parameters = message.parameters
    if parameters is None:
        if classes is None and placement is None:
            return request, NO_PARAMETERS
        return request, Parameters(classes=classes, placement=placement)
    if not isinstance(parameters, Parameters):
        parameters = read_parameters(parameters)
    request.priority = parameters.priority
    request.timeout_us = parameters.timeout_us
    request.parameters = dict(parameters.custom) if parameters.custom else None  # they may be remembered
    if classes is not None or placement is not None:
        parameters = replace(parameters, classes=classes, placement=placement)  # it may be one that is remembered
    return request, parameters


def _input(tensor: Any, model_name: str) -> Any:
    """The message's input as it is, unless it is in shared memory. Raises InvalidArgumentError."""
    place = place_from_message(tensor)
    if place is None:
        return tensor
    if tensor.HasField("contents"):
        raise InvalidArgumentError(
            f"unexpected 'content' provided when using shared memory for input tensor '{tensor.name}' for model "
            f"'{model_name}'"
        )
    return PlacedInput(tensor.name, datatype_named(tensor.datatype), tuple(tensor.shape), place)


def _repeated_input(message: InferMessage) -> InvalidArgumentError:
    seen: set[str] = set()
    for entry in message.inputs:
        name = entry[0] if isinstance(entry, tuple) else entry.name
        if name in seen:
            break
        seen.add(name)
    return InvalidArgumentError(
        f"[request id: {message.id or '<id_unknown>'}] input '{name}' already exists in request"
    )
