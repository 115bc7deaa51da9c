"""`InferenceTrace`: the trace that a request belongs to."""

from __future__ import annotations


class InferenceTrace:
    """The trace that a request belongs to."""

    __slots__ = ("_context", "origin")

    def __init__(self, context: str | None = None, origin: object = None):
        self._context = context
        self.origin = origin  # the server's: by what it knows the trace again in a request made for this one

    def get_context(self) -> str | None:
        """The trace context, as the text of a JSON object with the headers `traceparent` and, where there is one,
        `tracestate`; None where the request has none.
        """
        return self._context
