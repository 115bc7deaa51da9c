"""What is kept of a model's spans while it works on one request that is traced: how they nest, and how many there are.

A span's parent is the one of the same request that is open round it in the same context. What is too much is left out
and counted, so that no request fails, and no process grows, for being traced.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import RLock
from time import monotonic_ns
from typing import TYPE_CHECKING

from atoll.model_spans import MAX_ATTRIBUTES, MAX_SPANS, MAX_TEXT

if TYPE_CHECKING:
    from atoll.model_spans import Attribute, Row

LEFT_OUT = "spans left out"
_RESERVED_TEXT = 8192  # characters: for the span that says how many, and one that begins within another's beginning

_innermost: ContextVar[OpenSpan | None] = ContextVar("atoll_model_span", default=None)


class OpenSpan:
    """One span, from its beginning. `outer`: what was open round it in its context, of whichever request; `parent`: of
    its own.
    """

    __slots__ = ("attributes", "end_ns", "error", "name", "outer", "parent", "recorder", "start_ns")

    def __init__(self, recorder: SpanRecorder, name: str):
        self.recorder = recorder
        self.name = name
        self.start_ns = monotonic_ns()
        self.end_ns = 0
        self.parent: OpenSpan | None = None
        self.attributes: dict[str, Attribute] = {}
        self.error = ""
        self.outer: OpenSpan | None = None


class SpanRecorder:
    """The spans of one execution of a request. Thread-safe; nothing is noted once it is closed."""

    __slots__ = ("_first_left_out_ns", "_left_out", "_lock", "_room", "_spans", "closed")

    def __init__(self) -> None:
        self._lock = RLock()  # the collector of garbage may end a generator, and with it a span, at any moment
        self._spans: list[OpenSpan] = []
        self._room = MAX_TEXT - _RESERVED_TEXT
        self._left_out = 0
        self._first_left_out_ns = 0
        self.closed = False

    def begin(self, name: str, attributes: dict[str, Attribute]) -> OpenSpan | None:
        """A span begins in this context; None where there are too many, or the recorder is closed."""
        span = OpenSpan(self, name)
        outer = _innermost.get()
        while outer is not None and outer.recorder.closed:  # of a request that is over: never ended
            outer = outer.outer
        span.outer = outer
        while outer is not None and outer.recorder is not self:
            outer = outer.outer
        span.parent = outer
        with self._lock:
            if self.closed:
                return None
            if len(self._spans) >= MAX_SPANS or not self._take(len(name)):
                self._first_left_out_ns = self._first_left_out_ns or span.start_ns
                self._left_out += 1
                return None
            for key, value in attributes.items():
                self._keep(span, key, value)
            self._spans.append(span)
        _innermost.set(span)
        return span

    def note(self, span: OpenSpan, name: str, value: Attribute) -> None:
        """An attribute of one that has begun."""
        with self._lock:
            if not self.closed:
                self._keep(span, name, value)

    def end(self, span: OpenSpan, error: str) -> None:
        """It ends, in this context: what was open round it is so again."""
        with self._lock:
            span.end_ns = monotonic_ns()
            if error and self._take(len(error)):
                span.error = error
        inner = _innermost.get()
        if inner is span:
            _innermost.set(span.outer)
            return
        while inner is not None and inner.outer is not span:
            inner = inner.outer
        if inner is not None:  # it ends before one that has begun in it
            inner.outer = span.outer

    def close(self) -> list[Row]:
        """All spans, in the order in which they began; what is still open ends now. Where some were left out, a last
        one says how many. Later calls give none.
        """
        with self._lock:
            self.closed = True
            now_ns = monotonic_ns()
            spans, self._spans = self._spans[:MAX_SPANS], []
            left_out, self._left_out = self._left_out, 0
            index = {span: number for number, span in enumerate(spans)}
            rows: list[Row] = [
                (
                    span.name,
                    span.start_ns,
                    span.end_ns or now_ns,
                    -1 if span.parent is None else index.get(span.parent, -1),
                    dict(span.attributes),
                    span.error,
                )
                for span in spans
            ]
        if left_out:
            rows.append((LEFT_OUT, self._first_left_out_ns, now_ns, -1, {"count": left_out}, ""))
        return rows

    def _keep(self, span: OpenSpan, name: str, value: Attribute) -> None:
        if name not in span.attributes and len(span.attributes) >= MAX_ATTRIBUTES:
            return
        if self._take(len(name) + (len(value) if isinstance(value, str) else 0)):
            span.attributes[name] = value

    def _take(self, characters: int) -> bool:
        if characters > self._room:
            return False
        self._room -= characters
        return True
