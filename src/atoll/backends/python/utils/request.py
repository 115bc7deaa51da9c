"""`InferenceRequest`: one that a model received, and one that a model makes to another model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from atoll.backends.python.utils import calls
from atoll.backends.python.utils.arguments import as_flag, as_integer, mismatch
from atoll.backends.python.utils.current import current_host
from atoll.backends.python.utils.errors import TritonModelException
from atoll.backends.python.utils.memory import PreferredMemory
from atoll.backends.python.utils.parameters import Parameter, checked_parameters
from atoll.backends.python.utils.request_arguments import (
    MAX_INT64,
    MAX_UINT32,
    MAX_UINT64,
    MIN_INT64,
    checked_arguments,
    checked_correlation_id,
)
from atoll.backends.python.utils.response import InferenceResponse
from atoll.backends.python.utils.sender import InferenceResponseSender
from atoll.backends.python.utils.tensor import Tensor
from atoll.backends.python.utils.trace import InferenceTrace
from atoll.tensor import Tensor as Inner

if TYPE_CHECKING:
    from asyncio import Future

    from atoll.backends.python.host import Delivery, ModelHost
    from atoll.backends.python.utils.calls import ResponseIterator
    from atoll.backends.python.utils.span_recorder import SpanRecorder

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2
TRITONSERVER_REQUEST_RELEASE_ALL = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE = 2

_NO_PARAMETERS: Mapping[str, Parameter] = {}


class InferenceRequest:
    """A request to another model, to be run by `exec` or `async_exec`, or one that was received.

    `inputs` are Tensors with the batch dimension where that model has one; `requested_output_names` empty asks for all
    outputs; `model_version` -1 lets the model's version policy choose; `flags` are those of a sequence; `timeout` is
    in microseconds, 0 for none. Raises TypeError for arguments of other types, TritonModelException for an input that
    is None, an empty output name, and parameters that are not bool, int or str.
    """

    __slots__ = (
        "_correlation_id",
        "_flags",
        "_id",
        "_inputs",
        "_sender",
        "_sent_names",
        "_tensors",
        "_timeout",
        "decoupled",
        "delivery",
        "finished",
        "host",
        "model_name",
        "model_version",
        "output_names",
        "parameter_values",
        "preferred_memory",
        "release_flags",
        "span_recorder",
        "trace_context",
        "trace_origin",
    )

    def __init__(
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        inputs: Sequence[Tensor] | None = None,
        requested_output_names: Sequence[str] | None = None,
        model_name: str | None = None,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: InferenceTrace | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ):
        # What is of exactly the usual types is taken as it is: a model may make many of these.
        if not (
            type(request_id) is type(model_name) is str
            and type(model_version) is type(flags) is type(timeout) is int
            and type(inputs) is type(requested_output_names) is list
            and MIN_INT64 <= model_version <= MAX_INT64
            and 0 <= flags <= MAX_UINT32
            and 0 <= timeout <= MAX_UINT64
            and all([tensor.__class__ is Tensor for tensor in inputs])
            and all([name.__class__ is str and name for name in requested_output_names])
            and correlation_id.__class__ is int
            and preferred_memory is trace is None
        ):
            checked = checked_arguments(
                request_id=request_id,
                correlation_id=correlation_id,
                inputs=inputs,
                requested_output_names=requested_output_names,
                model_name=model_name,
                model_version=model_version,
                flags=flags,
                timeout=timeout,
                preferred_memory=preferred_memory,
                trace=trace,
            )
            request_id, inputs, requested_output_names, model_name, model_version, flags, timeout = checked
        self._id = request_id
        self._correlation_id = checked_correlation_id(correlation_id)
        self._inputs: list[Tensor] | None = list(inputs)
        self._tensors: list[Inner] = [tensor.inner for tensor in inputs]
        self.output_names = self._sent_names = tuple(dict.fromkeys(requested_output_names))
        self.model_name = model_name
        self.model_version = "" if model_version == -1 else str(model_version)
        self._flags = flags
        self._timeout = timeout
        self.preferred_memory = preferred_memory
        self.trace_context = trace.get_context() if trace is not None else None
        self.trace_origin = trace.origin if trace is not None else None
        self.span_recorder = trace.recorder if trace is not None else None
        self.parameter_values: Mapping[str, Parameter] = (
            checked_parameters(parameters, floats=False) if parameters is not None else _NO_PARAMETERS
        )
        self.delivery: Delivery | None = None
        self.host: ModelHost | None = None
        self.decoupled = False
        self.release_flags = TRITONSERVER_REQUEST_RELEASE_ALL
        self._sender: InferenceResponseSender | None = None
        self.finished = False

    @classmethod
    def received(
        cls,
        inputs: list[Inner],
        *,
        delivery: Delivery,
        host: ModelHost,
        model_name: str = "",
        model_version: str = "",
        request_id: str = "",
        correlation_id: int | str = 0,
        flags: int = 0,
        timeout: int = 0,
        parameters: Mapping[str, Parameter] | None = None,
        requested_output_names: Sequence[str] = (),
        state_output_names: Sequence[str] = (),
        trace_context: str | None = None,
        trace_origin: object = None,
        span_recorder: SpanRecorder | None = None,
        decoupled: bool = False,
    ) -> InferenceRequest:
        """A request as the server hands it to a model; nothing is checked again. Outputs that are states are sent
        though nobody has asked for them.
        """
        self = cls.__new__(cls)
        self._tensors = inputs
        self._inputs = None
        self.delivery = delivery
        self.host = host
        self.model_name = model_name
        self.model_version = model_version
        self._id = request_id
        self._correlation_id = correlation_id
        self._flags = flags
        self._timeout = timeout
        self.parameter_values = parameters if parameters is not None else _NO_PARAMETERS
        self.output_names = tuple(requested_output_names)
        self._sent_names = (*self.output_names, *state_output_names) if state_output_names else self.output_names
        self.trace_context = trace_context
        self.trace_origin = trace_origin
        self.span_recorder = span_recorder
        self.preferred_memory = None
        self.decoupled = decoupled
        self.release_flags = 1
        self._sender = None
        self.finished = False
        return self

    def inputs(self) -> list[Tensor]:
        """The input tensors; an optional input that the client left out is not among them."""
        inputs = self._inputs
        if inputs is None:
            received = Tensor.received
            inputs = self._inputs = [received(tensor) for tensor in self._tensors]
        return inputs[:]

    @property
    def tensors(self) -> list[Inner]:
        """The inputs as the server takes them."""
        return self._tensors

    def request_id(self) -> str:
        """The id that the client gave, or ""."""
        return self._id

    def correlation_id(self) -> int | str:
        """The sequence that the request belongs to; 0 or "" for none."""
        return self._correlation_id

    def flags(self) -> int:
        """TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END, ored."""
        return self._flags

    def set_flags(self, flags: int) -> None:
        """Set the flags that `exec` sends. Raises TypeError for what is no unsigned 32-bit integer."""
        self._flags = self._checked_flags(flags, "set_flags")

    def timeout(self) -> int:
        """In microseconds; 0 means none."""
        return self._timeout

    def parameters(self) -> str:
        """The request's parameters as the text of a JSON object."""
        if self.delivery is None:
            return json.dumps(self.parameter_values)
        return json.dumps(self.parameter_values, separators=(",", ":"), ensure_ascii=False)

    def trace(self) -> InferenceTrace:
        """The trace that the request belongs to: hand it to the requests made for this one, and add spans to it."""
        return InferenceTrace(self.trace_context, self.trace_origin, self.span_recorder)

    def requested_output_names(self) -> set[str]:
        """The outputs that the client wants."""
        return set(self.output_names)

    def is_cancelled(self) -> bool:
        """Whether the client has withdrawn the request; a response to it is dropped."""
        return self.delivery is not None and not self.finished and self.delivery.is_cancelled()

    def set_release_flags(self, flags: int) -> None:
        """TRITONSERVER_REQUEST_RELEASE_ALL ends the request with `execute`; TRITONSERVER_REQUEST_RELEASE_RESCHEDULE
        gives it back to the server, which executes it again. Raises TypeError for what is no integer.
        """
        self.release_flags = self._checked_flags(flags, "set_release_flags")

    def _checked_decoupled(self, value: object, function: str) -> bool:
        flag = as_flag(value)
        if flag is None:
            signature = "(self: c_python_backend_utils.InferenceRequest, decoupled: bool = False) -> object"
            raise mismatch(signature, (self, value), function=function)
        return flag

    def _checked_flags(self, flags: object, function: str) -> int:
        number = as_integer(flags, 0, MAX_UINT32)
        if number is None:
            signature = "(self: c_python_backend_utils.InferenceRequest, arg0: int) -> None"
            raise mismatch(signature, (self, flags), function=function)
        return number

    def get_response_sender(self) -> InferenceResponseSender:
        """What sends this request's responses: always the same object. Raises TritonModelException for a request that
        the model made itself.
        """
        sender = self._sender
        if sender is None:
            if self.delivery is None:
                raise TritonModelException("this request was made by the model itself: it has no response sender")
            sender = self._sender = InferenceResponseSender(
                self.delivery,
                self._sent_names,
                decoupled=self.decoupled,
                model_name=self.model_name,
                ended=self.finished,
            )
        return sender

    def finish(self, response: InferenceResponse | None) -> bool:
        """End a received request with this response, or without one; False, and nothing is sent, where the model's
        sender has ended it already.
        """
        if self._sender is not None:
            return self._sender.finish(response)
        if self.finished or self.delivery is None:
            return False
        self.finished = True
        names = self._sent_names
        if names and response is not None:
            response = response.pruned(names)
        self.delivery.send(response, True)
        return True

    def reschedule(self) -> bool:
        """Give a received request back to the server, which executes it again; False where it has ended."""
        if self._sender is not None:
            return self._sender.reschedule()
        if self.finished or self.delivery is None:
            return False
        self.finished = True
        self.delivery.reschedule()
        return True

    @property
    def has_sender(self) -> bool:
        """Whether the model has asked for the sender, and may have used it."""
        return self._sender is not None

    def is_finished(self) -> bool:
        """Whether its final response has been sent."""
        return self._sender.ended if self._sender is not None else self.finished

    @overload
    def exec(self, decoupled: Literal[False] = False) -> InferenceResponse: ...
    @overload
    def exec(self, decoupled: Literal[True]) -> ResponseIterator: ...
    @overload
    def exec(self, decoupled: bool) -> InferenceResponse | ResponseIterator: ...

    def exec(self, decoupled: bool = False) -> InferenceResponse | ResponseIterator:
        """Run the request on its model and wait in this thread: for the response, or, with `decoupled`, for an iterator
        over the responses. What goes wrong is the response's error; nothing is raised for it.
        """
        self.decoupled = self._checked_decoupled(decoupled, "exec")
        host = self.host or current_host()
        return calls.iterate(host, self) if self.decoupled else calls.execute(host, self)

    @overload
    def async_exec(self, decoupled: Literal[False] = False) -> Future[InferenceResponse]: ...
    @overload
    def async_exec(self, decoupled: Literal[True]) -> Future[ResponseIterator]: ...
    @overload
    def async_exec(self, decoupled: bool) -> Future[InferenceResponse] | Future[ResponseIterator]: ...

    def async_exec(self, decoupled: bool = False) -> Future[Any]:
        """As `exec`, without blocking: await what it returns. The request is sent at once. Raises RuntimeError where
        no event loop runs in this thread.
        """
        self.decoupled = self._checked_decoupled(decoupled, "async_exec")
        host = self.host or current_host()
        return calls.iterate_async(host, self) if self.decoupled else calls.execute_async(host, self)
