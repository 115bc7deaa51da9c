"""`InferenceTrace`: the trace that a request belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.backends.python.utils.spans import make_span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.backends.python.utils.span_recorder import SpanRecorder
    from atoll.backends.python.utils.spans import NoSpan, Span
    from atoll.model_spans import Attribute


class InferenceTrace:
    """The trace that a request belongs to."""

    __slots__ = ("_context", "origin", "recorder")

    def __init__(self, context: str | None = None, origin: object = None, recorder: SpanRecorder | None = None):
        self._context = context
        self.origin = origin  # the server's: by what it knows the trace again in a request made for this one
        self.recorder = recorder  # of what the model itself did for the request, where it is traced

    def get_context(self) -> str | None:
        """The trace context, as the text of a JSON object with the headers `traceparent` and, where there is one,
        `tracestate`; None where the request has none.
        """
        return self._context

    def span(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> Span | NoSpan:
        """A stretch of work to be shown in the request's trace, for a `with`; it does next to nothing where the request
        is not traced. It gives the span, which has `set_attribute(name, value)`; an exception that passes through is
        noted as its error. Attributes are bools, integers of 64 bits, floats and texts. Raises TypeError and ValueError
        for anything else.

        From any thread, until the request's final response is sent: what is open then ends there.
        """
        return make_span(self.recorder, name, attributes)
