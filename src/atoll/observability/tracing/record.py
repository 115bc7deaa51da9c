"""What is noted of a traced request, and of all requests made for it, on their way through the server.

Only moments and names are noted, as the requests pass; what becomes of them (entries of a file, spans) is made by who
writes the record, on a thread of its own, when the record is whole.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from time import monotonic_ns

from atoll.errors import AtollError
from atoll.observability.tracing.context import TraceContext
from atoll.observability.tracing.tensors import tensor_entry
from atoll.request import InferenceRequest, InferenceResponse, ModelSpan, Timeline, append_spans
from atoll.tensor import Tensor

MAX_PARTS = 100_000  # requests of one record: one that makes itself anew for ever must not fill the memory
MAX_TEXT = 64 << 20  # characters that one record notes: a stream need not end; what is beyond is left out
PART_BYTES = 2048  # what a part takes without tensors and spans, about
SPAN_BYTES = 512  # and a span of a model's own without its texts
STAMP_BYTES = 128  # and one moment of which there may be many
MAX_NAME = 256  # characters of the name of a model that may not be there

_random_bits = Random().getrandbits  # not the module's own: a model may seed that


def new_id(bits: int) -> int:
    """For a trace (128 bits) or a span (64), as the W3C asks for it: any number but 0."""
    return _random_bits(bits) or 1


@dataclass(frozen=True, slots=True)
class Execution:
    """In which batch a request was executed: by which instance, of how many elements, made of how many requests."""

    instance: str
    batch_size: int
    requests: int


class Record:
    """A client's request and what was made for it. Thread-safe.

    `collect` gets the record once, when all of it has ended. `next_id` gives each request its number. `trace_id`: by
    which the trace is known elsewhere, where spans are made of the record; 0: it becomes entries of a file.
    """

    __slots__ = (
        "_collect",
        "_lock",
        "_next_id",
        "_open",
        "_text",
        "_whole",
        "began_ns",
        "context",
        "ended_ns",
        "parts",
        "tensors",
        "timestamps",
        "trace_id",
    )

    def __init__(
        self,
        *,
        timestamps: bool,
        tensors: bool,
        context: TraceContext | None,
        next_id: Callable[[], int],
        collect: Callable[["Record"], None],
        trace_id: int = 0,
    ):
        self.timestamps = timestamps
        self.tensors = tensors
        self.context = context
        self.trace_id = trace_id
        self.began_ns = monotonic_ns()
        self.ended_ns = 0
        self.parts: list[Part] = []  # the client's request first, and each before those that were made for it
        self._next_id = next_id
        self._collect = collect
        self._lock = threading.Lock()
        self._open = 0
        self._whole = False
        self._text = 0

    @property
    def weight(self) -> int:
        """Bytes that it takes, about."""
        return self._text + PART_BYTES * len(self.parts)

    def fits(self, characters: int) -> bool:
        """Whether so much text more can be noted."""
        return self._text + characters <= MAX_TEXT

    def grow(self, characters: int) -> bool:
        """So much text more is noted; False where that is too much."""
        with self._lock:
            if not self.fits(characters):
                return False
            self._text += characters
        return True

    def add(self, kept: list[ModelSpan], spans: Sequence[ModelSpan]) -> None:
        """Keep spans behind others; each `parent` is an index into `spans`, and then into `kept`."""
        with self._lock:
            append_spans(kept, spans)

    def begin(self, parent: "Part | None", model_name: str) -> "Part | None":
        """One more request of it, for that model; its `end` is to be called once. None where the others have all ended,
        or there are too many of them.
        """
        part = Part(self, self._next_id(), parent, model_name[:MAX_NAME])
        with self._lock:
            if self._whole or len(self.parts) >= MAX_PARTS:
                return None
            self._open += 1
            self.parts.append(part)
        return part

    def end(self) -> None:
        """One of its requests has ended: all that is noted of it has been."""
        with self._lock:
            self._open -= 1
            self._whole = whole = not self._open
        if whole:
            self.ended_ns = monotonic_ns()
            self._collect(self)


class Part:
    """What was noted of one request. `span_id`: of the span that is made of its model's work; 0 where none is."""

    __slots__ = (
        "after",
        "asked",
        "before",
        "began_ns",
        "composed",
        "ended_ns",
        "error",
        "execution",
        "id",
        "model",
        "parent",
        "record",
        "request_id",
        "response_ns",
        "span_id",
        "spans",
        "tensors",
        "timeline",
    )

    def __init__(self, record: Record, id: int, parent: "Part | None", asked: str):
        self.record = record
        self.id = id
        self.parent = parent
        self.asked = asked  # the model that it is for, whether there is one or not
        self.began_ns = monotonic_ns()
        self.ended_ns = 0
        self.span_id = new_id(64) if record.trace_id else 0
        self.composed = False  # an ensemble's: it is not computed itself
        self.model: tuple[str, str] | None = None
        self.request_id = ""
        self.timeline: Timeline | None = None
        self.execution: Execution | None = None
        self.error = ""
        self.response_ns = 0
        self.before: list[tuple[str, int]] = []
        self.after: list[tuple[str, int]] = []
        self.spans: list[ModelSpan] = []  # the model's own; `parent` is an index into this list
        self.tensors: list[tuple[str, dict[str, str]]] = []

    @property
    def parent_id(self) -> int:
        """The number of the request that this one was made for; 0 where it is a client's."""
        return 0 if self.parent is None else self.parent.id

    def received(self, name: str, ns: int) -> None:
        """A frontend has got so far with the request."""
        self.before.append((name, ns))

    def sent(self, name: str, ns: int) -> None:
        """A frontend has got so far with the answer."""
        if not self.ended_ns and self.record.grow(STAMP_BYTES):
            self.after.append((name, ns))

    def queued(self, request: InferenceRequest, model_name: str, version: str) -> None:
        """The model takes the request."""
        self.model = (model_name, version)
        self.request_id = request.id if self.record.grow(len(request.id)) else ""
        self.timeline = request.timeline
        if self.record.tensors:
            self._note_tensors("TENSOR_QUEUE_INPUT", request.inputs.values())

    def answered(self, response: InferenceResponse | None, final: bool) -> None:
        """A response leaves the model."""
        if final and self.parent is None:
            self.response_ns = monotonic_ns()
        if response is None:
            return
        if response.error is not None:
            self.failed(response.error)
        elif self.record.tensors:
            self._note_tensors("TENSOR_BACKEND_OUTPUT", response.outputs)

    def failed(self, error: BaseException) -> None:
        """What the client is told."""
        text = str(error) if isinstance(error, AtollError) else f"{type(error).__name__}: {error}"
        if not self.error and self.record.grow(len(text)):
            self.error = text

    def note(self, spans: Sequence[ModelSpan]) -> None:
        """What the model's own code says that it did; `parent` is an index into these spans."""
        if not self.ended_ns and self.record.grow(sum(SPAN_BYTES + span.characters for span in spans)):
            self.record.add(self.spans, spans)

    def _note_tensors(self, activity: str, tensors: Iterable[Tensor]) -> None:
        record = self.record
        for tensor in tensors:
            try:
                entry = tensor_entry(tensor) if record.fits(prod(tensor.shape)) else None
            except Exception:  # packed wrongly: the engine refuses the request, and says why
                continue
            if entry is not None and record.grow(len(entry["data"])):
                self.tensors.append((activity, entry))

    def end(self) -> None:
        """Nothing more is noted. A second end is none: what is answered may be refused too, where its submitter's
        thread is interrupted.
        """
        if not self.ended_ns:
            self.ended_ns = monotonic_ns()
            self.record.end()

    def refused(self, error: BaseException | None = None) -> None:
        """No model has taken the request: that was its end."""
        if self.ended_ns:
            return
        if error is not None:
            self.failed(error)
        self.ended_ns = monotonic_ns()
        if self.timeline is not None:
            self.timeline.request_end = self.ended_ns
        self.record.end()
