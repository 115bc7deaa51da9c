"""A Python model in a process of its own: the requests of the channel to the model's, and its responses back.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atoll.backends.python.auto_complete import auto_complete
from atoll.backends.python.channel_host import ChannelHost
from atoll.backends.python.module_loading import load_module
from atoll.backends.python.request_facts import request_facts
from atoll.backends.python.runner import PythonModel
from atoll.backends.python.utils import InferenceRequest, InferenceResponse
from atoll.backends.python.utils.current import set_process_host
from atoll.backends.python.utils.span_recorder import SpanRecorder

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from types import ModuleType

    from atoll.backends.python.channel_host import Service as CallService
    from atoll.errors import AtollError
    from atoll.tensor import Tensor

    class Service(CallService, Protocol):
        """What a child's service (isolation/service.py) does for answers."""

        def respond(self, request: int, tensors: Sequence[Tensor], facts: Mapping[str, Any], final: bool) -> None: ...
        def fail(self, request: int, error: AtollError, final: bool, facts: Mapping[str, Any]) -> None: ...
        def finish(self, request: int, facts: Mapping[str, Any]) -> None: ...
        def reschedule(self, request: int, facts: Mapping[str, Any]) -> None: ...
        def flush(self) -> None: ...
        def flush_unless_in_batch(self) -> None: ...
        def look(self) -> None: ...
        def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any: ...


class Packet(Protocol):
    """A request as it came: see isolation/wire.py."""

    @property
    def tensors(self) -> list[Tensor]: ...
    @property
    def facts(self) -> dict[str, Any]: ...
    @property
    def id(self) -> str: ...


_prepared: dict[str, ModuleType] = {}  # modules that were imported before this process was forked

DEPTH = 31  # batches that may wait in the process while executions are short: one system call then carries many
_NO_FACTS: dict[str, Any] = {}


def prepare(setup: Mapping[str, Any]) -> None:
    """Import the model's module, for the processes that are to be forked from this one."""
    file = Path(setup["file"])
    _prepared[str(file)] = load_module(file, version=setup["version"], own_process=True)


def make(setup: Mapping[str, Any], service: Service) -> HostedPythonModel:
    """The model, initialized. Raises AtollError."""
    return HostedPythonModel(setup, service)


def complete(setup: Mapping[str, Any], service: Service) -> Completed:
    """What the model's class makes of its configuration. Raises AtollError."""
    set_process_host(ChannelHost(service), str(Path(setup["file"]).parent), setup["placement"]["name"])
    return Completed(auto_complete(Path(setup["file"]), setup["config"], version=setup["version"], own_process=True))


class Completed:
    """Says the configuration to the server, and nothing else."""

    asynchronous = False

    def __init__(self, config: dict[str, Any]):
        self._config = config

    def facts(self) -> dict[str, Any]:
        return {"config": self._config}

    def close(self) -> None:
        pass


class HostedPythonModel:
    """What isolation/service.py calls a Hosted."""

    def __init__(self, setup: Mapping[str, Any], service: Service):
        self._service = service
        file = Path(setup["file"])
        self._host = ChannelHost(service, setup["log_verbose"])
        self._outputs = tuple(setup["outputs"])
        self._states = tuple(setup.get("states", ()))
        self._name: str = setup["name"]
        self._version: str = str(setup["version"])
        self._model = PythonModel(
            file=file,
            name=setup["name"],
            instance=setup["placement"]["name"],
            version=setup["version"],
            host=self._host,
            args={
                **setup["args"],
                "model_instance_name": setup["placement"]["name"],
                "model_instance_kind": setup["placement"]["kind"].removeprefix("KIND_"),
                "model_instance_device_id": str(setup["placement"]["device_id"]),
            },
            config=setup["config"],
            module=_prepared.get(str(file)),
            own_process=True,
            run_coroutine=service.run_coroutine,
        )
        set_process_host(self._host, self._model.directory, setup["placement"]["name"])
        self._model.initialize()
        self.asynchronous = self._model.asynchronous
        self._concurrency = setup["concurrency"] if self.asynchronous else 1
        self._deliveries: dict[int, _Delivery] = {}  # of requests that are not answered
        self._cancelled: set[int] = set()  # before they were executed
        self._next_key = 0  # of a request that has not been executed yet

    def facts(self) -> dict[str, Any]:
        """What the server should know."""
        return {
            "concurrency": self._concurrency,
            "says_ready": self._model.says_ready,
            "depth": 0 if self.asynchronous else DEPTH,
        }

    def execute(self, requests: Sequence[tuple[int, Packet]]) -> None:
        """A batch of a model whose `execute` is a function."""
        self._model.execute(self._received(requests))

    async def execute_async(self, requests: Sequence[tuple[int, Packet]]) -> None:
        """A batch of a model whose `execute` is a coroutine function."""
        await self._model.execute_async(self._received(requests))

    def _received(self, requests: Sequence[tuple[int, Packet]]) -> list[InferenceRequest]:
        received = []
        model = self._model
        self._next_key = max(self._next_key, requests[-1][0] + 1) if requests else self._next_key
        for key, packet in requests:
            facts = request_facts(packet.facts)
            recorder = SpanRecorder() if facts.trace_number else None
            delivery = self._deliveries[key] = _Delivery(self, self._service, key, recorder)
            if self._cancelled and key in self._cancelled:
                self._cancelled.discard(key)
                delivery.cancelled = True
            received.append(
                InferenceRequest.received(
                    packet.tensors,
                    delivery=delivery,
                    host=self._host,
                    model_name=self._name,
                    model_version=self._version,
                    request_id=packet.id,
                    correlation_id=facts.correlation_id,
                    flags=facts.flags,
                    timeout=facts.timeout,
                    parameters=facts.parameters,
                    requested_output_names=facts.outputs or self._outputs,
                    state_output_names=self._states,
                    trace_context=facts.trace_context,
                    trace_origin=facts.trace_number,
                    span_recorder=recorder,
                    decoupled=model.decoupled,
                )
            )
        return received

    def cancel(self, request: int) -> None:
        """The client has withdrawn it."""
        delivery = self._deliveries.get(request)
        if delivery is not None:
            delivery.cancelled = True
        elif request >= self._next_key:  # else it was answered while this was on its way
            self._cancelled.add(request)

    def answered(self, request: int) -> None:
        """Its final response has been sent."""
        self._deliveries.pop(request, None)

    def is_ready(self) -> bool:
        """What the model's own `is_ready` says."""
        return self._model.is_ready()

    async def is_ready_async(self) -> bool:
        """The same on the loop where the model's coroutines run."""
        return await self._model.is_ready_async()

    def close(self) -> None:
        """Finalize the model."""
        self._model.finalize()


class _Delivery:
    """Where the responses of one request go: host.py, Delivery."""

    __slots__ = ("_key", "_model", "_recorder", "_service", "cancelled")

    def __init__(self, model: HostedPythonModel, service: Service, key: int, recorder: SpanRecorder | None):
        self._model = model
        self._service = service
        self._key = key
        self._recorder = recorder
        self.cancelled = False

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        service = self._service
        facts = _NO_FACTS
        if final:
            self._model.answered(self._key)
            if self._recorder is not None:
                facts = self._spans()
        if response is None:
            service.finish(self._key, facts)
        elif response.error_or_none is not None:
            service.fail(self._key, response.error_or_none.as_atoll_error(), final, facts)
        else:
            parameters = response.parameter_values
            if parameters:
                facts = {**facts, "parameters": parameters}
            service.respond(self._key, response.tensors, facts, final)
        service.flush_unless_in_batch()

    def _spans(self) -> dict[str, Any]:
        """What the model has said of its own work: told with what ends this execution."""
        rows = self._recorder.close() if self._recorder is not None else None
        return {"spans": rows} if rows else _NO_FACTS

    def flush(self) -> None:
        self._service.flush()

    def reschedule(self) -> None:
        self._model.answered(self._key)
        self._service.reschedule(self._key, self._spans())
        self._service.flush_unless_in_batch()

    def is_cancelled(self) -> bool:
        if not self.cancelled:
            self._service.look()
        return self.cancelled
