"""What a request carries of its trace.

A `RequestTrace` may only carry the client's trace context; then nothing is noted. A recorded one belongs to a `Record`,
which is whole when its request and all requests made for it have ended.
"""

from collections.abc import Callable, Sequence

from atoll.observability.tracing.context import TraceContext, context_of_text
from atoll.observability.tracing.record import Execution, Part
from atoll.request import InferenceRequest, InferenceResponse, ModelSpan, ResponseSender, Trace


class RequestTrace:
    """What `InferenceRequest.trace` holds. `part` is None where only the client's context travels along."""

    __slots__ = ("context", "part")

    def __init__(self, context: TraceContext | None, part: Part | None = None):
        self.context = context
        self.part = part

    @property
    def text(self) -> str | None:
        """What a Python model gets of it as its context: where spans are made of the request, it names the span of the
        model's own work; otherwise it is what the client sent, None where that is nothing.
        """
        part, context = self.part, self.context
        if part is None or not part.span_id:
            return None if context is None else context.text
        state = "" if context is None else context.tracestate
        return TraceContext(f"00-{part.record.trace_id:032x}-{part.span_id:016x}-01", state).text

    @property
    def number(self) -> int:
        """By which the request is known among those that are recorded; 0 where it is not recorded."""
        return 0 if self.part is None else self.part.id

    def join(self, request: InferenceRequest) -> None:
        """Make a request, before it is submitted, part of what this one belongs to: it is made for this one."""
        if self.part is None:
            request.trace = self
            return
        part = self.part.record.begin(self.part, request.model_name)
        if part is None:
            request.trace = RequestTrace(self.context)
            return
        request.trace = RequestTrace(self.context, part)
        request.sender = TracedSender(part, request.sender, ends=True)

    def queued(self, request: InferenceRequest, model_name: str, version: str) -> None:
        """The model takes the request."""
        if self.part is not None:
            self.part.queued(request, model_name, version)

    def composed(self) -> None:
        """An ensemble takes it."""
        if self.part is not None:
            self.part.composed = True

    def executed(self, instance: str, batch_size: int, requests: int) -> None:
        """An instance executes it, in a batch of so many elements and requests."""
        if self.part is not None:
            self.part.execution = Execution(instance, batch_size, requests)

    def refused(self, error: BaseException | None = None) -> None:
        """The request was refused at the door: its sender hears nothing."""
        if self.part is not None:
            self.part.refused(error)

    def note(self, spans: Sequence[ModelSpan]) -> None:
        """What the model's own code says that it did for the request."""
        if self.part is not None:
            self.part.note(spans)


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
