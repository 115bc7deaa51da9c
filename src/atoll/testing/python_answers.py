"""What goes into a model under test, and what comes out of it."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from atoll.backends.python.utils import InferenceResponse
from atoll.backends.python.utils.span_recorder import SpanRecorder
from atoll.errors import AtollError
from atoll.request import ModelSpan, Parameter, append_spans
from atoll.tensor import Array


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a model under test. `inputs`: names to arrays, or sequences, with the batch dimension where the
    model has one. `outputs` empty asks for all. `timeout_us` 0 means none. `trace_context`: what the model gets by
    `request.trace().get_context()`, a text of JSON with `traceparent`.
    """

    inputs: Mapping[str, Array | Sequence[Any]]
    outputs: Sequence[str] = ()
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    correlation_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    timeout_us: int = 0
    cancelled: bool = False
    trace_context: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: `answer["OUTPUT0"]` is the array of that output. With `error` there are no outputs. `spans`: what
    the model has added to the trace of its request, in the order in which they began; empty in a stream's answers.
    """

    outputs: Mapping[str, Array]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    error: AtollError | None = None
    spans: tuple[ModelSpan, ...] = ()

    def __getitem__(self, name: str) -> Array:
        if self.error is not None:
            raise self.error
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"no output '{name}' in this response: it has {', '.join(self.outputs) or 'none'}") from None


class Mailbox:
    """Where the responses of one request arrive: a Delivery (backends/python/host.py)."""

    def __init__(self, cancelled: bool = False):
        self._changed = threading.Condition()
        self._responses: deque[InferenceResponse] = deque()
        self._ended = False
        self._cancelled = cancelled
        self.rescheduled = False
        self.recorder = SpanRecorder()  # of this execution
        self._spans: list[ModelSpan] = []

    @property
    def spans(self) -> tuple[ModelSpan, ...]:
        """What the model has noted of its work, in all executions that have ended."""
        return tuple(self._spans)

    def _note_spans(self) -> None:
        append_spans(self._spans, [ModelSpan(*row) for row in self.recorder.close()])

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """See `Delivery.send`."""
        with self._changed:
            if final:
                self._note_spans()
            if response is not None:
                self._responses.append(response)
            self._ended = self._ended or final
            self._changed.notify_all()

    def flush(self) -> None:
        """Nothing is held back."""

    def reschedule(self) -> None:
        """See `Delivery.reschedule`."""
        with self._changed:
            self._note_spans()
            self.rescheduled = True
            self._changed.notify_all()

    def is_cancelled(self) -> bool:
        """See `Delivery.is_cancelled`."""
        return self._cancelled

    def cancel(self) -> None:
        """The client withdraws the request."""
        self._cancelled = True

    def reopen(self) -> None:
        """The request that was given back is executed again."""
        self.rescheduled = False
        self.recorder = SpanRecorder()

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing more will come of this execution; False after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or self.rescheduled, timeout_s)

    def next(self, timeout_s: float) -> InferenceResponse | None:
        """The next response; None after the last. Raises TimeoutError after so many seconds without one."""
        deadline = monotonic() + timeout_s
        with self._changed:
            if not self._changed.wait_for(lambda: self._responses or self._ended, deadline - monotonic()):
                raise TimeoutError(f"the model has sent no response, and no final one either, for {timeout_s} s")
            return self._responses.popleft() if self._responses else None
