"""The server as a model in a thread of it sees it: everything is a call of the engine."""

import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, cast

from atoll.backends.api import Engine
from atoll.backends.python.call_errors import refusal_text
from atoll.backends.python.channel_host import call_parameters
from atoll.backends.python.utils import InferenceRequest, InferenceResponse, TritonError
from atoll.backends.python.utils.current import request_in_context
from atoll.errors import AtollError, InvalidArgumentError
from atoll.model_log import Speaker, log_as_model
from atoll.request import InferenceRequest as EngineRequest
from atoll.request import InferenceResponse as EngineResponse
from atoll.request import Trace
from atoll.tensor import Tensor

if TYPE_CHECKING:
    from atoll.backends.python.host import Receive


class EngineHost:
    """A ModelHost (host.py); the metrics that are made through it belong to it. `close` drops them."""

    def __init__(self, engine: Engine, speaker: Speaker):
        self._engine = engine
        self._speaker = speaker
        self._changed = threading.Condition()

    # ---- other models

    def infer(self, request: InferenceRequest, receive: "Receive") -> "_Call":
        """See `ModelHost.infer`."""
        name = request.model_name

        def answered(response: EngineResponse | None, final: bool) -> None:
            receive(None if response is None else _response(response), final)
            with self._changed:
                self._changed.notify_all()

        inputs: dict[str, Tensor] = {}
        engine_request = EngineRequest(
            name,
            inputs,
            _Sender(answered),
            model_version=request.model_version,
            id=request.request_id(),
            output_names=request.output_names,
            parameters=call_parameters(request),
            timeout_us=request.timeout(),
        )
        engine_request.single_response = not request.decoupled
        if request.trace_origin is not None:
            cast(Trace, request.trace_origin).join(engine_request)
        try:
            for tensor in request.tensors:
                if tensor.name in inputs:
                    known = request.request_id() or "<id_unknown>"
                    raise InvalidArgumentError(f"[request id: {known}] input '{tensor.name}' already exists in request")
                inputs[tensor.name] = tensor
            self._engine.submit(engine_request)
        except AtollError as error:
            if engine_request.trace is not None:
                engine_request.trace.refused(error)
            receive(InferenceResponse([], TritonError(refusal_text(name, error))), True)
        return _Call(engine_request)

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """See `ModelHost.wait`."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._changed:
            while not done():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """See `ModelHost.load_model`."""
        self._engine.load_model(name, config=config, files=files)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `ModelHost.unload_model`."""
        self._engine.unload_model(name, unload_dependents=unload_dependents)

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """See `ModelHost.is_model_ready`."""
        return self._engine.model_ready(name, version)

    # ---- log and metrics

    def log(self, level: str, message: str, file: str, line: int) -> None:
        """See `ModelHost.log`."""
        log_as_model(self._speaker, level, message, file, line, request_in_context())

    def create_metric_family(self, name: str, description: str, kind: str) -> int:
        """See `ModelHost.create_metric_family`."""
        return self._engine.metrics.create_family(self, name, description, kind)

    def create_metric(self, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> int:
        """See `ModelHost.create_metric`."""
        return self._engine.metrics.create_metric(self, family, labels, buckets)

    def change_metric(self, metric: int, operation: str, value: float) -> None:
        """See `ModelHost.change_metric`."""
        self._engine.metrics.change(metric, operation, value)

    def metric_value(self, metric: int) -> float:
        """See `ModelHost.metric_value`."""
        return self._engine.metrics.value(metric)

    def drop_metric(self, metric: int) -> None:
        """See `ModelHost.drop_metric`."""
        self._engine.metrics.drop_metric(metric)

    def drop_metric_family(self, family: int) -> None:
        """See `ModelHost.drop_metric_family`."""
        self._engine.metrics.drop_family(family)

    def close(self) -> None:
        """The model is gone."""
        self._engine.metrics.drop_owner(self)


class _Call:
    """A request that is on its way: host.py, Call."""

    __slots__ = ("_request",)

    def __init__(self, request: EngineRequest):
        self._request = request

    def cancel(self) -> None:
        self._request.cancel()


class _Sender:
    """Where the engine sends the responses to a model's request."""

    __slots__ = ("send",)

    def __init__(self, send: Callable[[EngineResponse | None, bool], None]):
        self.send = send


def _response(response: EngineResponse) -> InferenceResponse:
    if response.error is not None:
        return InferenceResponse([], TritonError.of(response.error))
    return InferenceResponse.received(response.outputs, dict(response.parameters))
