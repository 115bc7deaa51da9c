"""What models in processes of their own ask of the server: requests to other models, model control, metrics, log lines.

What may take long (loading a model) is answered from a thread of its own; everything else at once, by who reads.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from atoll.backends.api import Engine
from atoll.errors import OVERLOADED, AtollError, InternalError, InvalidArgumentError, OverloadedError
from atoll.isolation import wire
from atoll.isolation.wire import Packet
from atoll.model_log import Speaker, log_as_model
from atoll.observability.tracing.trace import join_made
from atoll.request import Defer, InferenceRequest, InferenceResponse, Trace
from atoll.tensor import Buffer, Tensor

MAX_CALLS = 65536  # of one process, that are not answered yet


class Peer(Protocol):
    """The channel to the process that asks."""

    @property
    def memory(self) -> wire.Memory:
        """What tensors are placed in."""

    def defer(self) -> Defer:
        """For requests made on this thread."""

    def trace(self, number: int) -> Trace | None:
        """Of the request with that number, while the process has it."""

    def queue(self, parts: list[Buffer]) -> None:
        """Send with the next `flush`."""

    def flush(self) -> None:
        """Send now."""

    def settle_soon(self) -> None:
        """`flush` at the end of what is being read now, or at once where nothing is."""


class Services:
    """For one process. `speaker`: in whose name its lines stand in the log."""

    def __init__(self, peer: Peer, engine: Engine, executor: Callable[[], ThreadPoolExecutor], speaker: Speaker):
        self._peer = peer
        self._engine = engine
        self._executor = executor
        self._speaker = speaker
        self._calls: dict[int, InferenceRequest] = {}

    # ---- requests to other models

    def infer(self, call: int, packet: Packet) -> None:
        """INFER."""
        facts = packet.facts
        sender = _Sender(self, call)
        try:
            if len(self._calls) >= MAX_CALLS:
                raise InternalError(f"more than {MAX_CALLS} requests of one model instance are not answered yet")
            inputs: dict[str, Tensor] = {}
            for tensor in packet.tensors:
                if tensor.name in inputs:
                    raise InvalidArgumentError(
                        f"[request id: {packet.id or '<id_unknown>'}] input '{tensor.name}' already exists in request"
                    )
                inputs[tensor.name] = tensor
            request = InferenceRequest(
                str(facts.get("model", "")),
                inputs,
                sender,
                model_version=str(facts.get("version", "")),
                id=packet.id,
                output_names=tuple(map(str, facts.get("outputs", ()))),
                parameters=dict(facts.get("parameters", {})),
                timeout_us=int(facts.get("timeout", 0)),
                defer=self._peer.defer(),
            )
            request.single_response = not facts.get("decoupled")
            if "trace" in facts:
                join_made(request, facts["trace"], self._peer.trace)
            self._calls[call] = request
            try:
                self._engine.submit(request)
            except AtollError as error:
                if request.trace is not None:
                    request.trace.refused(error)
                raise
        except AtollError as error:
            self._calls.pop(call, None)
            sender.refuse(error)

    def cancel(self, call: int) -> None:
        """CANCEL_CALL."""
        request = self._calls.get(call)
        if request is not None:
            request.cancel()

    def answer(self, call: int, response: InferenceResponse | None, final: bool, *, refused: bool = False) -> None:
        """A response to a request that the model has made; `refused`: no model has seen it."""
        if final:
            self._calls.pop(call, None)
        flags = wire.FINAL if final else 0
        if response is None:
            parts = wire.pack(wire.RESULT, call, None, flags=flags | wire.EMPTY)
        else:
            facts: dict[str, Any] = {"model": response.model_name, "version": response.model_version}
            if response.error is not None:
                code = OVERLOADED if isinstance(response.error, OverloadedError) else response.error.code.name
                facts = {"error": str(response.error), "code": code, "refused": refused}
            if response.parameters:
                facts["parameters"] = response.parameters
            parts = wire.pack(wire.RESULT, call, self._peer.memory, response.outputs, facts, response.id, flags)
        self._peer.queue(parts)
        self._peer.settle_soon()

    def close(self) -> None:
        """The process is gone: nobody waits for what it has asked."""
        for request in list(self._calls.values()):
            request.cancel()
        self._engine.metrics.drop_owner(self)

    # ---- questions

    def ask(self, question: int, packet: Packet) -> None:
        """ASK: the answer is a REPLY."""
        facts = packet.facts
        what = facts.get("ask")
        try:
            if what in ("load_model", "unload_model"):
                self._executor().submit(self._control, question, packet)
                return
            if what == "is_model_ready":
                ready = self._engine.model_ready(str(facts["name"]), str(facts.get("version", "")))
                reply: Mapping[str, Any] = {"ready": ready}
            elif what == "create_metric_family":
                reply = {
                    "number": self._engine.metrics.create_family(
                        self, str(facts["name"]), str(facts["description"]), str(facts["kind"])
                    )
                }
            elif what == "create_metric":
                labels = {str(key): str(value) for key, value in dict(facts["labels"]).items()}
                buckets = [float(one) for one in facts.get("buckets", ())]
                reply = {"number": self._engine.metrics.create_metric(self, int(facts["family"]), labels, buckets)}
            elif what == "change_metric":
                self._engine.metrics.change(int(facts["metric"]), str(facts["operation"]), float(facts["value"]))
                reply = {}
            elif what == "metric_value":
                reply = {"value": self._engine.metrics.value(int(facts["metric"]))}
            else:
                raise InternalError(f"a model asked for '{what}', which this server does not know")
        except (AtollError, KeyError, TypeError, ValueError) as error:
            reply = _refusal(error)
        self._reply(question, reply)

    def _control(self, question: int, packet: Packet) -> None:
        facts = packet.facts
        reply: Mapping[str, Any] = {}
        try:
            if facts["ask"] == "load_model":
                files = {tensor.name: bytes(tensor.packed()) for tensor in packet.tensors}
                self._engine.load_model(str(facts["name"]), config=str(facts.get("config", "")), files=files or None)
            else:
                self._engine.unload_model(str(facts["name"]), unload_dependents=bool(facts.get("unload_dependents")))
        except Exception as error:
            reply = _refusal(error)
        self._reply(question, reply)

    def _reply(self, question: int, facts: Mapping[str, Any]) -> None:
        self._peer.queue(wire.pack(wire.REPLY, question, None, facts=facts, flags=wire.FINAL))
        self._peer.settle_soon()

    # ---- what is only said

    def tell(self, packet: Packet) -> None:
        """TELL: a line for the log, or that a metric's object is gone."""
        facts = packet.facts
        what = facts.get("tell")
        if what == "log":
            line = facts.get("line")
            log_as_model(
                self._speaker,
                str(facts.get("level")),
                str(facts.get("text", "")),
                str(facts.get("file", "")),
                line if isinstance(line, int) else 0,
                str(facts.get("request", "")),
            )
        elif what == "drop_metric":
            self._drop(self._engine.metrics.drop_metric, facts.get("metric"))
        elif what == "drop_metric_family":
            self._drop(self._engine.metrics.drop_family, facts.get("family"))

    def _drop(self, drop: Callable[[int], None], number: object) -> None:
        if isinstance(number, int):
            drop(number)


class _Sender:
    """Where the responses to a model's own request go."""

    __slots__ = ("_call", "_services")

    def __init__(self, services: Services, call: int):
        self._services = services
        self._call = call

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        self._services.answer(self._call, response, final)

    def refuse(self, error: AtollError) -> None:
        """It was refused at the door."""
        self._services.answer(self._call, InferenceResponse("", "", error=error), True, refused=True)


def _refusal(error: Exception) -> dict[str, Any]:
    if isinstance(error, AtollError):
        return {"error": str(error), "code": error.code.name}
    return {"error": f"a model's question makes no sense: {type(error).__name__}: {error}", "code": "INTERNAL"}
