"""The control inputs of a sequence model: what tells it where a sequence starts and ends, and which one it is. Pure.

Their shape is that of the real server: one element for each item of the batch, [n,1]; [1] for a model without a batch
dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.config.model_config import ModelSequenceBatching
from atoll.config.sequence_inputs import control_type
from atoll.errors import InvalidArgumentError
from atoll.request import InferenceRequest
from atoll.scheduling.sequences.sequence import CorrelationId, Step
from atoll.tensor import Array, DataType, Tensor

Kind = ModelSequenceBatching.Control.Kind
_FLAGS = {
    Kind.CONTROL_SEQUENCE_START: "start",
    Kind.CONTROL_SEQUENCE_END: "end",
    Kind.CONTROL_SEQUENCE_READY: "ready",
}


@dataclass(frozen=True, slots=True)
class FlagInput:
    """An input that holds one of two values: whether `flag` of the request's Step is true."""

    name: str
    flag: str
    datatype: DataType
    values: tuple[Any, Any]  # for false, for true
    tensors: tuple[Tensor, Tensor]  # of one request

    def tensor(self, request: InferenceRequest) -> Tensor:
        """The request's own, for a model that takes requests as they are."""
        return self.tensors[getattr(request.step, self.flag)]

    def array(self, requests: Sequence[InferenceRequest]) -> Array:
        """That of a batch of more than one request."""
        flag, values = self.flag, self.values
        column = [values[getattr(request.step, flag)] for request in requests]
        return np.array(column, self.datatype.dtype).reshape(-1, 1)


@dataclass(frozen=True, slots=True)
class CorrelationInput:
    """An input that holds the correlation ID; 0 or an empty string where a slot of the batch is empty."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]  # of one request's
    model_name: str

    def tensor(self, request: InferenceRequest) -> Tensor:
        """See `FlagInput.tensor`."""
        array = self._packed([self._element(request)]).reshape(self.shape)
        return Tensor(self.name, self.datatype, self.shape, array=array)

    def array(self, requests: Sequence[InferenceRequest]) -> Array:
        """See `FlagInput.array`. Raises InvalidArgumentError for an ID that the input cannot hold."""
        return self._packed([self._element(request) for request in requests]).reshape(-1, 1)

    def _element(self, request: InferenceRequest) -> int | bytes:
        sequence: Any = request.sequence
        found: CorrelationId = 0 if sequence is None else sequence.correlation_id
        if self.datatype is DataType.BYTES:
            if sequence is None:
                return b""
            return found.encode() if isinstance(found, str) else str(found).encode()
        if isinstance(found, str):
            raise InvalidArgumentError(
                f"the correlation ID '{found[:128]}' is a string, but control input '{self.name}' of model "
                f"'{self.model_name}' is {self.datatype.config_name}; send a number, or give the control data_type: "
                "TYPE_STRING"
            )
        return found

    def _packed(self, elements: Sequence[int | bytes]) -> Array:
        if self.datatype is DataType.BYTES:
            column = np.empty(len(elements), np.object_)
            column[:] = elements
            return column
        # an ID has 64 bits, of which a smaller input gets the lower ones, as in the real server
        return np.array([int(one) & _ALL_BITS for one in elements], np.uint64).astype(self.datatype.dtype, copy=False)


_ALL_BITS = (1 << 64) - 1

ControlInput = FlagInput | CorrelationInput


def control_inputs(batching: ModelSequenceBatching, model_name: str, batched: bool) -> tuple[ControlInput, ...]:
    """The control inputs of a valid configuration, in its order."""
    shape = (1, 1) if batched else (1,)
    found: list[ControlInput] = []
    for one in batching.control_input:
        for control in one.control:
            datatype = control_type(control)
            if control.kind is Kind.CONTROL_SEQUENCE_CORRID:
                found.append(CorrelationInput(one.name, datatype, shape, model_name))
                continue
            pair = control.int32_false_true or control.fp32_false_true or control.bool_false_true
            tensors = [
                Tensor(one.name, datatype, shape, buffer=np.full(shape, value, datatype.dtype).tobytes())
                for value in pair
            ]
            for tensor in tensors:
                tensor.array()  # decoded once, for all requests
            flag = _FLAGS[control.kind]
            found.append(FlagInput(one.name, flag, datatype, (pair[0], pair[1]), (tensors[0], tensors[1])))
    return tuple(found)


def step_of(controls: Sequence[ControlInput], given: dict[str, Tensor]) -> tuple[Step, CorrelationId]:
    """What the control inputs say that somebody made by hand (a sample of model_warmup); those that are missing are of
    a sequence of one request. Takes them out of `given`."""
    flags = {"start": True, "end": True, "ready": True}
    correlation_id: CorrelationId = 0
    for control in controls:
        tensor = given.pop(control.name, None)
        if tensor is None:
            continue
        value = tensor.array().ravel()[0]
        if isinstance(control, CorrelationInput):
            text = control.datatype is DataType.BYTES
            correlation_id = value.decode("utf-8", "replace") if text else int(value)
        else:
            flags[control.flag] = bool(value == control.values[True])
    return Step(**flags), correlation_id
