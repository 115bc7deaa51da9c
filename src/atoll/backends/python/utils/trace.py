"""`InferenceTrace`: the trace that a request belongs to."""

from __future__ import annotations


class InferenceTrace:
    """The trace that a request belongs to."""

    __slots__ = ("_context",)

    def __init__(self, context: str | None = None):
        self._context = context

    def get_context(self) -> str | None:
        """The OpenTelemetry context, as the text of a JSON object with the propagation headers; None where the server
        does not trace the request.
        """
        return self._context
