"""The server as a model in a process of its own sees it: everything goes through the channel.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from atoll.backends.python.call_errors import refusal_text
from atoll.backends.python.utils import InferenceRequest, InferenceResponse, TritonError
from atoll.backends.python.utils.current import request_in_context
from atoll.errors import BY_CODE, AtollError
from atoll.tensor import DataType, Tensor

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence

    from atoll.backends.python.host import Call, Receive

    class Packet(Protocol):
        @property
        def tensors(self) -> list[Tensor]: ...
        @property
        def facts(self) -> dict[str, Any]: ...

    class Service(Protocol):
        """What a child's service (isolation/service.py) does for questions."""

        on_log_verbose: Callable[[bool], None]

        def infer(
            self,
            tensors: Sequence[Tensor],
            facts: Mapping[str, Any],
            id: str,
            receive: Callable[[Packet | None, bool], None],
        ) -> int: ...
        def cancel_call(self, call: int) -> None: ...
        def ask(self, question: Mapping[str, Any], tensors: Sequence[Tensor] = ()) -> dict[str, Any]: ...
        def tell(self, facts: Mapping[str, Any]) -> None: ...
        def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool: ...
        def read_on(self, loop: AbstractEventLoop) -> Callable[[], None]: ...


class ChannelHost:
    """A ModelHost (host.py)."""

    def __init__(self, service: Service, log_verbose: bool = False):
        self._service = service
        self._log_verbose = log_verbose
        service.on_log_verbose = self._set_log_verbose

    def _set_log_verbose(self, verbose: bool) -> None:
        self._log_verbose = verbose

    # ---- other models

    def infer(self, request: InferenceRequest, receive: Receive) -> Call:
        """See `ModelHost.infer`."""
        name = request.model_name
        stop_reading = self._read_on_running_loop()

        def received(packet: Packet | None, final: bool) -> None:
            if final and stop_reading is not None:
                stop_reading()
            receive(None if packet is None else _response(packet, name), final)

        try:
            number = self._service.infer(request.tensors, _call_facts(request), request.request_id(), received)
        except BaseException:
            if stop_reading is not None:
                stop_reading()
            raise
        return _Call(self._service, number)

    def _read_on_running_loop(self) -> Callable[[], None] | None:
        """Where the model awaits the answer on a loop of its own, that loop must read it."""
        asyncio = sys.modules.get("asyncio")
        loop = asyncio._get_running_loop() if asyncio is not None else None  # noqa: SLF001 - it does not raise
        return self._service.read_on(loop) if loop is not None else None

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """See `ModelHost.wait`."""
        return self._service.wait(done, timeout)

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """See `ModelHost.load_model`."""
        tensors = [
            Tensor(path, DataType.UINT8, (len(content),), array=np.frombuffer(content, np.uint8))
            for path, content in (files or {}).items()
        ]
        self._service.ask({"ask": "load_model", "name": name, "config": config}, tensors)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `ModelHost.unload_model`."""
        self._service.ask({"ask": "unload_model", "name": name, "unload_dependents": unload_dependents})

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """See `ModelHost.is_model_ready`."""
        return bool(self._service.ask({"ask": "is_model_ready", "name": name, "version": version})["ready"])

    # ---- log and metrics

    def log(self, level: str, message: str, file: str, line: int) -> None:
        """See `ModelHost.log`."""
        if level != "VERBOSE" or self._log_verbose:
            told = {"tell": "log", "level": level, "text": message, "file": file, "line": line}
            request = request_in_context()
            if request:
                told["request"] = request
            self._service.tell(told)

    def create_metric_family(self, name: str, description: str, kind: str) -> int:
        """See `ModelHost.create_metric_family`."""
        asked = {"ask": "create_metric_family", "name": name, "description": description, "kind": kind}
        return int(self._service.ask(asked)["number"])

    def create_metric(self, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> int:
        """See `ModelHost.create_metric`."""
        asked = {"ask": "create_metric", "family": family, "labels": dict(labels), "buckets": list(buckets)}
        return int(self._service.ask(asked)["number"])

    def change_metric(self, metric: int, operation: str, value: float) -> None:
        """See `ModelHost.change_metric`."""
        self._service.ask({"ask": "change_metric", "metric": metric, "operation": operation, "value": value})

    def metric_value(self, metric: int) -> float:
        """See `ModelHost.metric_value`."""
        return float(self._service.ask({"ask": "metric_value", "metric": metric})["value"])

    def drop_metric(self, metric: int) -> None:
        """See `ModelHost.drop_metric`."""
        self._service.tell({"tell": "drop_metric", "metric": metric})

    def drop_metric_family(self, family: int) -> None:
        """See `ModelHost.drop_metric_family`."""
        self._service.tell({"tell": "drop_metric_family", "family": family})


class _Call:
    """A request that is on its way: host.py, Call."""

    __slots__ = ("_number", "_service")

    def __init__(self, service: Service, number: int):
        self._service = service
        self._number = number

    def cancel(self) -> None:
        self._service.cancel_call(self._number)


def _call_facts(request: InferenceRequest) -> dict[str, Any]:
    facts: dict[str, Any] = {"model": request.model_name}
    if request.model_version:
        facts["version"] = request.model_version
    if request.output_names:
        facts["outputs"] = request.output_names
    if request.timeout():
        facts["timeout"] = request.timeout()
    if request.decoupled:
        facts["decoupled"] = True
    parameters = call_parameters(request)
    if parameters:
        facts["parameters"] = parameters
    if request.trace_context is not None or request.trace_origin:
        facts["trace"] = [request.trace_context, request.trace_origin]
    return facts


def call_parameters(request: InferenceRequest) -> dict[str, Any]:
    """The parameters of a request to another model, its sequence's among them."""
    parameters = dict(request.parameter_values)
    correlation_id = request.correlation_id()
    if correlation_id:
        parameters["sequence_id"] = correlation_id
        flags = request.flags()
        parameters["sequence_start"] = bool(flags & 1)
        parameters["sequence_end"] = bool(flags & 2)
    return parameters


def _response(packet: Packet, model_name: str) -> InferenceResponse:
    facts = packet.facts
    text = facts.get("error")
    if text is None:
        return InferenceResponse.received(packet.tensors, facts.get("parameters"))
    error = BY_CODE.get(facts.get("code", ""), AtollError)(text)
    if facts.get("refused"):
        return InferenceResponse([], TritonError(refusal_text(model_name, error)))
    return InferenceResponse([], TritonError.of(error))
