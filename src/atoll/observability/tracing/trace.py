"""What a request carries of its trace, and what is noted of a traced request on its way.

A `RequestTrace` may only carry the client's trace context; then nothing is noted. A recorded one belongs to a `Record`,
which is whole when its request and all requests made for it have ended.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from math import prod
from time import monotonic_ns
from typing import Any

from atoll.observability.tracing.context import TraceContext, context_of_text
from atoll.observability.tracing.tensors import tensor_entry
from atoll.request import InferenceRequest, InferenceResponse, ModelSpan, ResponseSender, Timeline, Trace
from atoll.tensor import Tensor

Entry = dict[str, Any]
MAX_PARTS = 100_000  # requests of one record: one that makes itself anew for ever must not fill the memory
MAX_TENSOR_TEXT = 64 << 20  # characters of one record's tensors: a stream need not end; what is beyond is left out
PART_BYTES = 2048  # what a part without tensors takes, about


class Record:
    """One entry of a trace file: a client's request and what was made for it. Thread-safe.

    `collect` gets the record once, when all of it has ended. `next_id` gives each request its number.
    """

    __slots__ = (
        "_collect",
        "_lock",
        "_next_id",
        "_open",
        "_parts",
        "_text",
        "_whole",
        "context",
        "tensors",
        "timestamps",
    )

    def __init__(
        self,
        *,
        timestamps: bool,
        tensors: bool,
        context: TraceContext | None,
        next_id: Callable[[], int],
        collect: Callable[["Record"], None],
    ):
        self.timestamps = timestamps
        self.tensors = tensors
        self.context = context
        self._next_id = next_id
        self._collect = collect
        self._lock = threading.Lock()
        self._open = 0
        self._whole = False
        self._parts: list[Part] = []
        self._text = 0

    @property
    def weight(self) -> int:
        """Bytes that it takes, about."""
        return self._text + PART_BYTES * len(self._parts)

    def fits(self, characters: int) -> bool:
        """Whether so much text more can be noted."""
        return self._text + characters <= MAX_TENSOR_TEXT

    def grow(self, characters: int) -> bool:
        """So much text more is noted; False where that is too much."""
        with self._lock:
            if not self.fits(characters):
                return False
            self._text += characters
        return True

    def begin(self, parent_id: int) -> "Part | None":
        """One more request of it, whose `end` is to be called once. None where the others have all ended, or there are
        too many of them.
        """
        part = Part(self, self._next_id(), parent_id)
        with self._lock:
            if self._whole or len(self._parts) >= MAX_PARTS:
                return None
            self._open += 1
            self._parts.append(part)
        return part

    def end(self) -> None:
        """One of its requests has ended: all that is noted of it has been."""
        with self._lock:
            self._open -= 1
            self._whole = whole = not self._open
        if whole:
            self._collect(self)

    def entries(self) -> Iterator[Entry]:
        """What is written: those made for a request stand before it. Called once it is whole."""
        for part in reversed(self._parts):
            yield from part.entries(self.timestamps)


class Part:
    """What was noted of one request."""

    __slots__ = (
        "_after",
        "_before",
        "_model",
        "_record",
        "_request_id",
        "_response_ns",
        "_tensors",
        "_timeline",
        "composed",
        "id",
        "parent_id",
        "spans",
    )

    def __init__(self, record: Record, id: int, parent_id: int):
        self._record = record
        self.id = id
        self.parent_id = parent_id
        self.composed = False  # an ensemble's: it is not computed itself
        self.spans: list[ModelSpan] = []
        self._model: tuple[str, str] | None = None
        self._request_id = ""
        self._timeline: Timeline | None = None
        self._response_ns = 0
        self._before: list[tuple[str, int]] = []
        self._after: list[tuple[str, int]] = []
        self._tensors: list[tuple[str, dict[str, str]]] = []

    def received(self, name: str, ns: int) -> None:
        """A frontend has got so far with the request."""
        self._before.append((name, ns))

    def sent(self, name: str, ns: int) -> None:
        """A frontend has got so far with the answer."""
        self._after.append((name, ns))

    def queued(self, request: InferenceRequest, model_name: str, version: str) -> None:
        """The model takes the request."""
        self._model = (model_name, version)
        self._request_id = request.id if self._record.grow(len(request.id)) else ""
        self._timeline = request.timeline
        if self._record.tensors:
            self._note("TENSOR_QUEUE_INPUT", list(request.inputs.values()))

    def answered(self, response: InferenceResponse | None, final: bool) -> None:
        """A response leaves the model."""
        if final and not self.parent_id:
            self._response_ns = monotonic_ns()
        if self._record.tensors and response is not None and response.error is None:
            self._note("TENSOR_BACKEND_OUTPUT", response.outputs)

    def _note(self, activity: str, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            try:
                entry = tensor_entry(tensor) if self._record.fits(prod(tensor.shape)) else None
            except Exception:  # packed wrongly: the engine refuses the request, and says why
                continue
            if entry is not None and self._record.grow(len(entry["data"])):
                self._tensors.append((activity, entry))

    def end(self) -> None:
        """Nothing more is noted."""
        self._record.end()

    def refused(self) -> None:
        """No model has taken the request: that was its end."""
        if self._timeline is not None:
            self._timeline.request_end = monotonic_ns()
        self._record.end()

    def entries(self, timestamps: bool) -> Iterator[Entry]:
        """In the order of what happened, as far as one thing follows another."""
        if timestamps:
            yield from self._stamps(self._before)
            if self._model is not None:
                yield self._description(*self._model)
            if self._timeline is not None:
                yield from self._stamps(self._begun(self._timeline))
        for activity, tensor in self._tensors:
            if activity == "TENSOR_QUEUE_INPUT":
                yield {"id": self.id, "activity": activity, "tensor": tensor}
        if timestamps and self._timeline is not None:
            yield from self._stamps(self._computed(self._timeline))
        for activity, tensor in self._tensors:
            if activity != "TENSOR_QUEUE_INPUT":
                yield {"id": self.id, "activity": activity, "tensor": tensor}
        if timestamps:
            if self._timeline is not None:
                yield from self._stamps(self._ended(self._timeline))
            yield from self._stamps(self._after)

    def _description(self, model_name: str, version: str) -> Entry:
        entry: Entry = {"id": self.id, "model_name": model_name, "model_version": int(version)}
        if self._request_id:
            entry["request_id"] = self._request_id
        if self.parent_id:
            entry["parent_id"] = self.parent_id
        context = self._record.context
        if context is not None and not self.parent_id:
            entry["trace_id"] = context.trace_id
        return entry

    def _begun(self, stamps: Timeline) -> list[tuple[str, int]]:
        return [("REQUEST_START", stamps.request_start), ("QUEUE_START", stamps.queue_start)]

    def _computed(self, stamps: Timeline) -> list[tuple[str, int]]:
        if self.composed:
            return []
        # An instance stamps a batch when its execution returns, and may have answered this request before that.
        last = stamps.compute_end or sys.maxsize
        return [
            ("COMPUTE_START", stamps.compute_start),
            ("COMPUTE_INPUT_END", min(stamps.compute_input_end, last)),
            ("COMPUTE_OUTPUT_START", min(stamps.compute_output_start, last)),
            ("COMPUTE_END", stamps.compute_end),
        ]

    def _ended(self, stamps: Timeline) -> list[tuple[str, int]]:
        return [("INFER_RESPONSE_COMPLETE", self._response_ns), ("REQUEST_END", stamps.request_end)]

    def _stamps(self, stamps: list[tuple[str, int]]) -> Iterator[Entry]:
        for name, ns in stamps:
            if ns:
                yield {"id": self.id, "timestamps": [{"name": name, "ns": ns}]}


class RequestTrace:
    """What `InferenceRequest.trace` holds. `part` is None where only the client's context travels along."""

    __slots__ = ("context", "part", "record")

    def __init__(self, context: TraceContext | None, record: Record | None = None, part: Part | None = None):
        self.context = context
        self.record = record
        self.part = part

    @property
    def text(self) -> str | None:
        """What a Python model gets of it as its context; None where the client sent none."""
        return None if self.context is None else self.context.text

    @property
    def number(self) -> int:
        """By which the request is known in the trace file; 0 where it is not recorded."""
        return 0 if self.part is None else self.part.id

    def join(self, request: InferenceRequest) -> None:
        """Make a request, before it is submitted, part of what this one belongs to: it is made for this one."""
        if self.record is None or self.part is None:
            request.trace = self
            return
        part = self.record.begin(self.part.id)
        if part is None:
            request.trace = RequestTrace(self.context)
            return
        request.trace = RequestTrace(self.context, self.record, part)
        request.sender = TracedSender(part, request.sender, ends=True)

    def queued(self, request: InferenceRequest, model_name: str, version: str) -> None:
        """The model takes the request."""
        if self.part is not None:
            self.part.queued(request, model_name, version)

    def composed(self) -> None:
        """An ensemble takes it."""
        if self.part is not None:
            self.part.composed = True

    def refused(self) -> None:
        """The request was refused at the door: its sender hears nothing."""
        if self.part is not None:
            self.part.refused()

    def note(self, spans: Sequence[ModelSpan]) -> None:
        """What the model's own code says that it did for the request."""
        if self.part is not None:
            self.part.spans.extend(spans)


class TracedSender:
    """The ResponseSender of a request that is recorded. `ends`: its last response ends its part of the record."""

    __slots__ = ("_ends", "_part", "_sender")

    def __init__(self, part: Part, sender: ResponseSender, *, ends: bool):
        self._part = part
        self._sender = sender
        self._ends = ends

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        part = self._part
        part.answered(response, final)
        if final and self._ends:
            # before it goes out: who has the answer to a request made for another may end that one at once
            part.end()
        self._sender.send(response, final)


def join_made(request: InferenceRequest, said: object, find: Callable[[int], Trace | None]) -> None:
    """A model makes a request for one that it has, and says the context and the number of that one's trace. `find`:
    the trace of that number, while the model has its request.
    """
    if not isinstance(said, (list, tuple)) or len(said) != 2:
        return
    text, number = said
    trace = find(number) if type(number) is int and number > 0 else None
    if trace is not None:
        trace.join(request)
        return
    context = context_of_text(text)
    if context is not None:
        request.trace = RequestTrace(context)
