"""One child process and the channel to it, from its start to its end: what goes in, and what its messages mean."""

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from atoll.backends.api import Answers, Engine
from atoll.errors import BY_CODE, AtollError, ConfigError, InternalError
from atoll.isolation import wire
from atoll.isolation.channel import Channel
from atoll.isolation.exchange import Exchange
from atoll.isolation.process import Child, ChildSpec, launch
from atoll.isolation.processes import Processes
from atoll.isolation.services import Services
from atoll.isolation.settings import IsolationSettings
from atoll.isolation.slowness import kill_for_slowness
from atoll.isolation.told_spans import note_spans
from atoll.model_log import Speaker, hear_verbosity, is_verbose
from atoll.request import Defer, InferenceRequest, Trace
from atoll.tensor import Buffer
from atoll.timers import Timer

if TYPE_CHECKING:
    from atoll.isolation.zygote import Zygote

logger = logging.getLogger(__name__)

TIDY_S = 10.0  # between two looks at memory that is not needed any more
FAILED_STOP_S = 5.0  # for a process that has said why it cannot be started to end by itself
LOST_S = 5.0  # for one that has closed its end of the channel


class Link:
    """A started child. `on_end(link, reason)` is called once, on the supervisor's thread, after its last message.

    The constructor waits until the child is ready. Raises what the child says is wrong, as ConfigError or
    InternalError, and InternalError where it ends, or is not ready in time; nothing is then left running. While it
    waits the child is among `starting`: killing it ends the wait.
    """

    def __init__(
        self,
        spec: ChildSpec,
        processes: Processes,
        settings: IsolationSettings,
        engine: Engine,
        answers: Callable[[], Answers],
        on_end: Callable[["Link", str], None],
        zygote: "Zygote | None" = None,
        starting: set[Child] | None = None,
    ):
        starting = set() if starting is None else starting
        self.spec = spec
        self._processes = processes
        self._answers = answers
        self._on_end = on_end
        self._requests: dict[int, InferenceRequest] = {}
        self._keys: dict[InferenceRequest, int] = {}
        self._next_key = 0
        self._probes: dict[int, SimpleQueue[bool]] = {}
        self._key_lock = threading.Lock()
        self._started = threading.Event()
        self._failure: AtollError | None = None
        self.end_reason = ""  # why the process has ended, once it has
        self._reading = False
        self._answered = False  # since the last time that all was read
        self.facts: dict[str, Any] = {}
        self._tidying: Timer | None = None
        self.began_ns = monotonic_ns()
        self.child = launch(spec, zygote)
        try:
            self._exchange = Exchange(
                self.child.regions,
                first_bytes=settings.first_bytes,
                growth_bytes=settings.growth_bytes,
                prefix=settings.prefix,
                on_retract=self._retract,
            )
            self._services = Services(self, engine, processes.executor, Speaker(spec.name, spec.model, spec.version))
            self._channel = Channel(
                self.child.data,
                self._exchange,
                processes.readers,
                self._handle,
                self._settled,
                self._broken,
                self._lost,
            )
            self._channel.open()
            processes.supervisor.watch(self.child, on_end=self._ended, stub_timeout_s=settings.stub_timeout_s)
        except BaseException:
            self.child.discard()
            raise
        self._tidying = processes.supervisor.later(TIDY_S, self._tidy)
        starting.add(self.child)
        try:
            self._await_start(settings.load_timeout_s)
        finally:
            starting.discard(self.child)
        hear_verbosity(self)
        self.set_log_verbose(is_verbose())  # it may have changed since the child's setup was written

    def _await_start(self, timeout_s: float) -> None:
        if not self._started.wait(timeout_s or None):
            kill_for_slowness(self._processes.supervisor, self.child, f"it was not ready within {timeout_s:g} s")
            self._started.wait()
        if self._failure is not None:
            self.stop(FAILED_STOP_S)
            raise self._failure
        if self.end_reason:
            raise InternalError(f"Stub process '{self.spec.name}' is not healthy: it {self.end_reason}")

    # ---- in

    def begin(self, batch: int, requests: Sequence[InferenceRequest]) -> None:
        """Queue a batch for the child. Raises InternalError for what cannot be sent; nothing of it is then queued."""
        with self._key_lock:
            first = self._next_key
            self._next_key += len(requests)
        packets = []
        memory = self._exchange
        sent = []
        refused: list[tuple[InferenceRequest, AtollError]] = []
        for key, request in enumerate(requests, first):
            try:
                packed = wire.packed(memory, list(request.inputs.values()), facts_of(request), request.id, 0)
            except InternalError as error:  # this one does not fit into a message: the others do
                refused.append((request, error))
            else:
                packets.append((key, packed))
                sent.append((key, request))
        parts = wire.pack_batch(batch, packets)
        for key, request in sent:
            self._requests[key] = request
            self._keys[request] = key
        self._channel.queue(parts)
        for request, refusal in refused:
            self._answers().respond(request, [], error=refusal)

    def flush(self) -> None:
        """Send what is queued."""
        self._channel.flush()

    def cancel(self, request: InferenceRequest) -> None:
        """Tell the model that nobody waits for this request."""
        key = self._keys.get(request)
        if key is not None:
            self._channel.queue([wire.message(wire.CANCEL, key)])
            self._channel.flush()

    def set_log_verbose(self, verbose: bool) -> None:
        """Whether the log takes details; also where the process has ended."""
        self._channel.queue([wire.message(wire.LOG_VERBOSE, int(verbose))])
        self._channel.flush()

    def probe(self, timeout_s: float) -> bool:
        """Whether the model says that it is ready; False where it does not say so in time."""
        said: SimpleQueue[bool] = SimpleQueue()
        with self._key_lock:
            question = self._next_key
            self._next_key += 1
        self._probes[question] = said
        self._channel.queue([wire.message(wire.PROBE, question)])
        self._channel.flush()
        try:
            return said.get(timeout=timeout_s)
        except Empty:
            return False
        finally:
            self._probes.pop(question, None)

    # ---- what the child says

    def _handle(self, kind: int, key: int, payload: memoryview) -> None:
        self._reading = True
        if kind == wire.RESPONSE:
            self._respond(key, payload)
        elif kind == wire.RELEASED:
            self._answers().released(key, wire.parse_released(payload))
            self._answered = True
        elif kind == wire.INFER:
            self._services.infer(key, wire.parse(payload, self._exchange))
        elif kind == wire.CANCEL_CALL:
            self._services.cancel(key)
        elif kind == wire.ASK:
            self._services.ask(key, wire.parse(payload, self._exchange))
        elif kind == wire.TELL:
            self._services.tell(wire.parse(payload, self._exchange))
        elif kind == wire.RESCHEDULE:
            facts = wire.parse(payload, None).facts
            request = self._requests.pop(key, None)
            if request is not None:
                self._keys.pop(request, None)
                note_spans(request, facts)
                self._answers().reschedule(request)
        elif kind == wire.PROBED:
            said = self._probes.get(key)
            if said is not None:
                said.put(wire.parse(payload, None).facts.get("ready") is True)
        elif kind == wire.READY:
            self.facts = dict(wire.parse(payload, None).facts)
            self._started.set()
        elif kind == wire.FAILED:
            self._fail_start(wire.parse(payload, None).facts)
        else:
            raise wire.WireError(f"a message of kind {kind} came")

    def _respond(self, key: int, payload: memoryview) -> None:
        packet = wire.parse(payload, self._exchange)
        final = bool(packet.flags & wire.FINAL)
        if final:
            request = self._requests.pop(key, None)
            if request is not None:
                self._keys.pop(request, None)
        else:
            request = self._requests.get(key)
        if request is None:
            return
        answers = self._answers()
        self._answered = True
        facts = packet.facts
        if final and facts:
            note_spans(request, facts)
        if packet.flags & wire.EMPTY:
            if final:
                answers.finish(request)
            return
        error = None
        parameters = None
        if facts:
            if "error" in facts:
                error = BY_CODE.get(facts.get("code", ""), InternalError)(str(facts["error"]))
            if "parameters" in facts:
                parameters = dict(facts["parameters"])
        answers.respond(request, packet.tensors, parameters=parameters, error=error, final=final)

    def _fail_start(self, facts: wire.Facts) -> None:
        if facts.get("config"):
            self._failure = ConfigError(str(facts["error"]))
        else:
            self._failure = BY_CODE.get(facts.get("code", "INTERNAL"), InternalError)(str(facts["error"]))
        self._started.set()

    def _settled(self) -> None:
        self._reading = False
        if self._answered:
            self._answered = False
            self._answers().settle()
        self._channel.flush()

    def _broken(self, reason: str) -> None:
        self.child.kill(f"was killed by the server, which could not make sense of what it sent: {reason}")

    def _lost(self) -> None:
        """Its end of the channel is closed. Its process ends, or it has lost its mind."""
        self._processes.supervisor.later(LOST_S, self._kill_lost)

    def _kill_lost(self) -> None:
        if not self.end_reason:
            self.child.kill("closed its connection to the server and was killed")

    def _tidy(self) -> None:
        if self.end_reason:
            return
        self._exchange.tidy()
        if self._exchange.mirrored > 1:  # the child's memory has grown: only it can make it smaller
            self._channel.queue([wire.message(wire.TIDY, 0)])
        self._channel.flush()
        self._tidying = self._processes.supervisor.later(TIDY_S, self._tidy)

    def _ended(self, reason: str) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        for part in (self._channel.read_rest, self._services.close, self._channel.close):
            try:
                part()
            except Exception:  # the rest must follow: it is what fails the requests and starts the process anew
                logger.exception("what follows the end of instance '%s' failed", self.spec.name)
        self._requests.clear()
        self._keys.clear()
        for said in list(self._probes.values()):
            said.put(False)
        self.end_reason = reason
        if not self._started.is_set():
            self._failure = InternalError(
                f"Stub process '{self.spec.name}' is not healthy: it {reason} while the model was being loaded"
            )
            self._started.set()
        self._on_end(self, reason)

    # ---- for the services (services.py, Peer)

    @property
    def memory(self) -> wire.Memory:
        return self._exchange

    def defer(self) -> Defer:
        return self._processes.readers.defer()

    def trace(self, number: int) -> Trace | None:
        for request in list(self._requests.values()):
            if request.trace is not None and request.trace.number == number:
                return request.trace
        return None

    def queue(self, parts: list[Buffer]) -> None:
        self._channel.queue(parts)

    def settle_soon(self) -> None:
        if not self._reading:
            self._channel.flush()

    def _retract(self, region: int) -> None:
        self._channel.retract(region)

    # ---- end

    def stop(self, timeout_s: float) -> None:
        """Let the model finalize and its process end; kill it after so many seconds."""
        self._channel.queue([wire.message(wire.STOP, 0)])
        self._channel.flush()
        self._processes.supervisor.stop(self.child, timeout_s)


_facts: dict[tuple[object, ...], bytes] = {}
_REMEMBERED = 1024


def facts_of(request: InferenceRequest) -> bytes:
    """What a model is told of a request besides its tensors and its id."""
    parameters = request.parameters
    if request.trace is not None:
        return wire.encode_facts(_facts_with_trace(request, request.trace))
    if not (parameters or request.output_names or request.timeout_us):
        return b""
    known = (
        request.output_names,
        request.timeout_us,
        tuple([(key, type(value), value) for key, value in (parameters or {}).items()]),
    )
    encoded = _facts.get(known)
    if encoded is None:
        encoded = wire.encode_facts(_named_facts(request))
        if len(encoded) <= 4096:
            if len(_facts) >= _REMEMBERED:
                _facts.clear()
            _facts[known] = encoded
    return encoded


def _named_facts(request: InferenceRequest) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if request.output_names:
        facts["outputs"] = request.output_names
    if request.timeout_us:
        facts["timeout"] = request.timeout_us
    if request.parameters:
        facts["parameters"] = request.parameters
    return facts


def _facts_with_trace(request: InferenceRequest, trace: Trace) -> dict[str, Any]:
    """Of no other request: not remembered."""
    return {**_named_facts(request), "trace": [trace.text, trace.number]}
