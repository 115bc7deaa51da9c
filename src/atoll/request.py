"""An inference request, its responses, and where to send them: what travels through the engine.

What asks carries where to answer: a request holds its `ResponseSender`, so no table of pending requests exists and a
cancelled neighbour cannot leave anybody waiting.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from atoll.errors import AtollError
from atoll.tensor import Array, Tensor

Parameter: TypeAlias = bool | int | float | str
Defer: TypeAlias = Callable[[Callable[[], None]], object]


def run_at_once(function: Callable[[], None]) -> None:
    """The `defer` of a caller that waits for its answer anyway: what is to be done soon is done now."""
    function()


class RequestState(IntEnum):
    """Where a request is. `MOVES` says what may follow what."""

    CREATED = 0  # owned by its maker
    QUEUED = 1  # owned by its model's scheduler
    EXECUTING = 2  # owned by the instance that runs it
    DONE = 3  # its final response has been sent: nobody touches it any more


# As plain names: a member costs ten times as much to look up, and every request passes four of them.
CREATED: Final = RequestState.CREATED
QUEUED: Final = RequestState.QUEUED
EXECUTING: Final = RequestState.EXECUTING
DONE: Final = RequestState.DONE

MOVES: Final[Mapping[RequestState, frozenset[RequestState]]] = {
    CREATED: frozenset({QUEUED}),
    QUEUED: frozenset({EXECUTING, DONE}),  # DONE: refused, cancelled or timed out before it ran
    EXECUTING: frozenset({QUEUED, DONE}),  # QUEUED: rescheduled by its model
    DONE: frozenset(),
}


class Timeline:
    """When a request passed each room, in monotonic nanoseconds; 0 = it has not. The names are those of Triton's
    traces.
    """

    __slots__ = (
        "compute_end",
        "compute_input_end",
        "compute_output_start",
        "compute_start",
        "queue_start",
        "request_end",
        "request_start",
    )

    def __init__(self) -> None:
        self.request_start = 0
        self.queue_start = 0
        self.compute_start = 0
        self.compute_input_end = 0
        self.compute_output_start = 0
        self.compute_end = 0
        self.request_end = 0


class InferenceResponse:
    """One answer: the outputs, or the error in their place.

    `outputs` are those that were requested (all, when none were), in the model's order. Their arrays may be views
    into a batch's output; they are immutable by contract and stay valid as long as they are held.
    """

    __slots__ = ("error", "id", "model_name", "model_version", "outputs", "parameters")

    def __getitem__(self, output_name: str) -> Array:
        """The elements of an output. Raises the response's error, if it has one, and KeyError for no such output."""
        if self.error is not None:
            raise self.error
        for tensor in self.outputs:
            if tensor.name == output_name:
                return tensor.array()
        raise KeyError(
            f"'{output_name}'; the response has {', '.join(tensor.name for tensor in self.outputs) or 'none'}"
        )

    def __init__(
        self,
        model_name: str,
        model_version: str,
        id: str = "",
        outputs: list[Tensor] | None = None,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
    ):
        self.model_name = model_name
        self.model_version = model_version
        self.id = id
        self.outputs: list[Tensor] = outputs if outputs is not None else []
        self.parameters: dict[str, Parameter] = parameters if parameters is not None else {}
        self.error = error


class ResponseSender(Protocol):
    """Where a request's responses go."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """Take one response; `final` ends the request, and `None` with `final` ends it without another response.

        Called from any thread, exactly once with `final=True`, nothing after that. It must neither block nor raise.
        """


class Trace(Protocol):
    """What a request carries of the trace that it belongs to (observability/tracing/trace.py)."""

    @property
    def text(self) -> str | None:
        """The trace context for what a model causes elsewhere, as the text of a JSON object; None where there is none.
        It names the client's span, or the server's own for the model's work where it makes spans.
        """

    @property
    def number(self) -> int:
        """Of the request, among all that are recorded; 0 where this one is not."""

    def join(self, request: "InferenceRequest") -> None:
        """Make a request, before it is submitted, part of the same trace: it is made for this one."""

    def queued(self, request: "InferenceRequest", model_name: str, version: str) -> None:
        """A model takes the request."""

    def composed(self) -> None:
        """The model is an ensemble: others compute."""

    def executed(self, instance: str, batch_size: int, requests: int) -> None:
        """An instance of that name executes it, in a batch of so many elements and so many requests."""

    def refused(self, error: BaseException | None = None) -> None:
        """The request was refused at the door, with this error: its sender hears nothing."""

    def note(self, spans: Sequence["ModelSpan"]) -> None:
        """What the model's own code says that it did for the request, before its final response. Thread-safe."""


@dataclass(frozen=True, slots=True)
class ModelSpan:
    """A stretch of a model's own work. Moments in monotonic nanoseconds. `parent`: the index, among those that are
    noted with it, of the one that it is part of; -1: of none. `error`: how it failed; "" where it did not.
    """

    name: str
    start_ns: int
    end_ns: int
    parent: int = -1
    attributes: Mapping[str, Parameter] = field(default_factory=dict)
    error: str = ""

    @property
    def characters(self) -> int:
        """Of its name, its error, and its attributes' names and texts."""
        attributes = self.attributes.items()
        told = sum([len(key) + (len(value) if isinstance(value, str) else 0) for key, value in attributes])
        return len(self.name) + len(self.error) + told


def append_spans(kept: list[ModelSpan], spans: Sequence[ModelSpan]) -> None:
    """Put spans behind others; each one's `parent` is an index into `spans`, and then into `kept`."""
    first = len(kept)
    kept += [replace(span, parent=span.parent + first) if span.parent >= 0 else span for span in spans]


class InferenceRequest:
    """One inference, as a frontend decoded it or a Python caller made it.

    `inputs` by name, as they came: the engine checks them against the model. `output_names` empty means all outputs.
    `model_version` "" lets the model's version policy choose. `timeout_us` 0 means none. `defer`, if given, runs a
    function soon on the submitter's own thread (an event loop's `call_soon`, for instance): it lets the engine drive
    a short execution there, without a thread hand-over. Whoever submits must not touch the request afterwards, but
    for `cancel`.
    """

    __slots__ = (
        "batch_key",
        "batch_size",
        "cancelled",
        "deadline_ns",
        "defer",
        "filler",
        "id",
        "inputs",
        "model_name",
        "model_version",
        "on_cancel",
        "output_names",
        "parameters",
        "parent",
        "priority",
        "sender",
        "sequence",
        "single_response",
        "state",
        "step",
        "timeline",
        "timeout_us",
        "trace",
    )

    def __init__(
        self,
        model_name: str,
        inputs: dict[str, Tensor],
        sender: ResponseSender,
        *,
        model_version: str = "",
        id: str = "",
        output_names: tuple[str, ...] = (),
        parameters: dict[str, Parameter] | None = None,
        priority: int = 0,
        timeout_us: int = 0,
        defer: Defer | None = None,
    ):
        self.model_name = model_name
        self.model_version = model_version
        self.id = id
        self.inputs = inputs
        self.output_names = output_names
        self.parameters = parameters
        self.priority = priority
        self.timeout_us = timeout_us
        self.sender = sender
        self.defer = defer
        self.batch_size = 1  # the engine's, set when it validates the request, and the next one too
        self.batch_key: object = None  # requests run together only where these are equal (the shapes, if they can vary)
        self.cancelled = False
        self.deadline_ns = 0  # the monotonic moment by which it must be answered, running or not; 0: none
        self.sequence: object = None  # set by a sequence batcher: the sequence that it is part of (scheduling/)
        self.step: object = None  # with `sequence`: the Step that is executed (scheduling/sequences/sequence.py)
        self.filler = False  # the engine's own, in an empty slot of a batch: nothing counts it
        self.parent: InferenceRequest | None = None  # of a step's request: the ensemble's, until the step is answered
        self.single_response = False  # who asks can take one response only: a decoupled model is refused
        self.on_cancel: Callable[[InferenceRequest], None] | None = None  # set by its pool, then by its instance
        self.state = CREATED
        self.timeline = Timeline()
        self.trace: Trace | None = None  # None: the client sent no trace context, and nothing is recorded

    def move(self, to: RequestState) -> None:
        """Enter another state. An illegal move raises."""
        if to not in MOVES[self.state]:
            raise AssertionError(f"request '{self.id}' cannot go from {self.state.name} to {to.name}. This is a bug")
        self.state = to

    def cancel(self) -> None:
        """Nobody waits for the answer any more: queued, it is dropped before it runs; running, its answer is dropped.

        Its sender still gets a final response, with a CancelledError.
        """
        self.cancelled = True
        hear = self.on_cancel
        if hear is not None:
            hear(self)
