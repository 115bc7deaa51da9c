"""One inference as a caller of the in-process API describes it."""

import asyncio
import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atoll.calls import input_tensor
from atoll.errors import InvalidArgumentError
from atoll.models.request_validation import InputSpec
from atoll.request import Defer, Parameter, ResponseSender
from atoll.request import InferenceRequest as EngineRequest
from atoll.tensor import Tensor as EngineTensor
from atoll.tritonserver.memory import DeviceOrMemoryType, MemoryAllocator
from atoll.tritonserver.tensor import Tensor, engine_tensor
from atoll.tritonserver.unpicklable import Unpicklable

if TYPE_CHECKING:
    from atoll.tritonserver.model import Model

SEQUENCE_START = 1
SEQUENCE_END = 2
_MAX_UINT64 = 2**64 - 1
_SAID_OTHERWISE = {
    "sequence_id": "correlation_id",
    "sequence_start": "flags (1)",
    "sequence_end": "flags (2)",
    "priority": "priority",
    "timeout": "timeout",
}


@dataclass
class InferenceRequest(Unpicklable):
    """Made by `Model.create_request`, and usable for any number of inferences.

    `flags`: 1 for the first request of a sequence, 2 for the last, 3 for both; `correlation_id` is the sequence's.
    `timeout`: microseconds that it may wait in its queue, 0 is no limit. `inputs` by name: tensors, objects with
    `__dlpack__`, arrays, or lists, which take the model's data type. `output_memory_type`: None or the host's.
    `response_queue`: gets every response, too.
    """

    model: "Model"
    request_id: str | None = None
    flags: int = 0
    correlation_id: int | str | None = None
    priority: int = 0
    timeout: int = 0
    inputs: dict[str, Tensor | Any] = field(default_factory=dict)
    parameters: dict[str, str | int | bool] = field(default_factory=dict)
    output_memory_type: DeviceOrMemoryType | None = None
    output_memory_allocator: MemoryAllocator | None = None
    response_queue: "queue.SimpleQueue[Any] | asyncio.Queue[Any] | None" = None


def engine_request(
    request: InferenceRequest, specs: Mapping[str, InputSpec], sender: ResponseSender, defer: Defer
) -> EngineRequest:
    """The engine's. Raises InvalidArgumentError and UnsupportedError for what cannot be meant."""
    model = request.model
    version = model.version
    return EngineRequest(
        model.name,
        {name: _input(name, value, specs.get(name)) for name, value in request.inputs.items()},
        sender,
        model_version="" if version == -1 else str(version),
        id=request.request_id or "",
        parameters=_parameters(request) or None,
        priority=_unsigned("priority", request.priority),
        timeout_us=_unsigned("timeout", request.timeout),
        defer=defer,
    )


def _input(name: str, value: Any, spec: InputSpec | None) -> EngineTensor:
    datatype = None if spec is None else spec.datatype
    if isinstance(value, Tensor):
        return engine_tensor(name, value)
    if isinstance(value, np.ndarray):
        return input_tensor(name, value, datatype)
    if hasattr(value, "__dlpack__"):
        return engine_tensor(name, Tensor.from_dlpack(value))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return input_tensor(name, value, datatype)
    raise InvalidArgumentError(
        f"Input type {type(value)} not supported: input '{name}' must be a Tensor, an object with __dlpack__, an array "
        "or a list"
    )


def _parameters(request: InferenceRequest) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, value in request.parameters.items():
        if name in _SAID_OTHERWISE:
            raise InvalidArgumentError(
                f"'{name}' is not a parameter of a request's own: use its field {_SAID_OTHERWISE[name]}"
            )
        if not isinstance(name, str) or not isinstance(value, (str, int, float)):
            raise InvalidArgumentError(
                f"parameter '{name}' is {value!r}, and must be of the types str, int, float or bool"
            )
        found[name] = value
    correlation_id = request.correlation_id
    if isinstance(correlation_id, str):
        found["sequence_id"] = correlation_id
    elif correlation_id is not None:
        found["sequence_id"] = _unsigned("correlation_id", correlation_id)
    flags = _unsigned("flags", request.flags)
    if flags & SEQUENCE_START:
        found["sequence_start"] = True
    if flags & SEQUENCE_END:
        found["sequence_end"] = True
    return found


def _unsigned(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_UINT64:
        raise InvalidArgumentError(f"{name} is {value!r}, and must be a whole number of 64 bits, 0 or more")
    return value
