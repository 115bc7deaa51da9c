"""The parameters of ModelInfer's messages: whose they are, and of which kind each must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from atoll.errors import InvalidArgumentError
from atoll.protocol.shared_memory import REGION, Place, Placement, place_from_message
from atoll.request import Parameter
from atoll.scheduling.sequences.facts import check_text_id

_KINDS: Final = ("bool_param", "int64_param", "string_param", "double_param", "uint64_param")
_EMPTY_FINAL = "triton_enable_empty_final_response"
_UINT64 = 2**64 - 1


@dataclass(slots=True)
class Parameters:
    """A request's parameters, sorted. The sequence's stay among the custom ones, under their own names."""

    custom: dict[str, Parameter] = field(default_factory=dict)
    priority: int = 0
    timeout_us: int = 0
    enable_empty_final_response: bool = False
    """In a stream: mark the end of the responses by an empty one, if the model ended them without one."""
    classes: dict[str, int] | None = None
    """Of the outputs, not of the request: how many classes of each item are wanted, by output; None where none are."""
    placement: Placement | None = None
    """Of the tensors, too: those in shared memory; None where none are."""


def read_parameters(parameters: Mapping[str, Any]) -> Parameters:
    """A map of InferParameter, sorted. InvalidArgumentError, in the real server's words, for one of the wrong kind."""
    found = Parameters()
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        value: Any = None if kind is None else getattr(parameter, kind)
        if key == "priority":
            _expect(key, kind, "int64_param", "uint64_param")
            if value < 0:
                raise InvalidArgumentError("invalid value for 'priority', expected value >= 0.")
            found.priority = value
        elif key == "timeout":
            _expect(key, kind, "int64_param")
            found.timeout_us = value & _UINT64  # as the real server: a negative one never comes
        elif key == "sequence_id":
            _expect(key, kind, "int64_param", "string_param")
            if kind == "string_param":
                check_text_id(value)
                found.custom[key] = value
            else:
                found.custom[key] = value & _UINT64
        elif key in ("sequence_start", "sequence_end"):
            _expect(key, kind, "bool_param")
            found.custom[key] = value
        elif key == _EMPTY_FINAL:
            _expect(key, kind, "bool_param")
            found.enable_empty_final_response = value
        elif key.startswith("triton_"):
            raise InvalidArgumentError(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
                f"starting with 'triton_' are allowed: {_EMPTY_FINAL}"
            )
        elif kind is None or kind == "uint64_param":
            raise InvalidArgumentError(
                f"invalid value type for '{key}' parameter, expected int64_param, bool_param, or string_param."
            )
        else:
            found.custom[key] = value
    return found


def read_output_parameters(output: Any) -> int | Place:
    """Of an InferRequestedOutputTensor: where it is to go, if that is shared memory; else how many classes it asks for,
    0 for the data itself.

    Unknown parameters are ignored, as the real server does.
    """
    place = place_from_message(output)
    if "classification" not in output.parameters:
        return place or 0
    if place is not None:
        raise InvalidArgumentError(f"output can't set both '{REGION}' and 'classification'")
    parameter = output.parameters["classification"]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidArgumentError("invalid value type for 'classification' parameter, expected int64_param")
    if parameter.int64_param <= 0:
        raise InvalidArgumentError("invalid value for 'classification' parameter, expected >= 0")
    return int(parameter.int64_param)


def write_parameters(message_class: Any, parameters: Mapping[str, Parameter]) -> bytes:
    """The field `parameters` of a message of this class, encoded."""
    message = message_class()
    for key, value in parameters.items():
        parameter = message.parameters[key]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int):
            if value < 2**63:
                parameter.int64_param = value
            else:
                parameter.uint64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value
    encoded: bytes = message.SerializeToString()
    return encoded


def _expect(key: str, kind: str | None, *kinds: str) -> None:
    if kind not in kinds:
        raise InvalidArgumentError(f"invalid value type for '{key}' parameter, expected {' or '.join(kinds)}.")
