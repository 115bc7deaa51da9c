"""Spans by OpenTelemetry's own libraries to whoever collects them: batches, retries, headers and TLS are theirs.

Imported only where traces are exported: it needs the extra `opentelemetry`.
"""

import logging
import os
import threading
from collections.abc import Sequence
from time import monotonic, monotonic_ns, time_ns

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from atoll.observability.tracing.export_settings import ExportSettings
from atoll.observability.tracing.record import Record
from atoll.observability.tracing.record_thread import RecordThread
from atoll.observability.tracing.span_exporter import WatchedExporter
from atoll.observability.tracing.spans import Span, spans
from atoll.request import Parameter
from atoll.slices import Slices

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 10.0  # how long the end of the server waits for a receiver
MAX_TEXT = 16_384  # characters of a name, an attribute, an error: one of more would cost the whole batch
_INT64 = range(-(2**63), 2**63)
_SCOPE = InstrumentationScope("triton-server")  # as the real server calls itself
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class SpanExports:
    """Takes records, makes spans of them on a thread of its own, and hands those on. What a receiver does not take, or
    not in time, is lost, counted, and complained of now and then. Thread-safe.
    """

    def __init__(self, settings: ExportSettings):
        self._settings = settings
        self._exporter = WatchedExporter(settings.url)
        self._resource = Resource.create(dict(settings.attributes(os.environ)))
        self._processor: BatchSpanProcessor | None = None  # it has a thread: from the first record on
        self._handed = 0  # spans
        self._pace = Slices()  # requests for inference come first
        self._thread = RecordThread("spans", self._export)

    def write(self, records: Sequence[Record], indexed: bool) -> None:
        """Export them. Returns at once."""
        self._thread.put(records, indexed)

    def close(self) -> None:
        """Export what is left, as far as it can be done in time, and end."""
        deadline = monotonic() + CLOSE_TIMEOUT_S
        whole = self._thread.close(CLOSE_TIMEOUT_S)
        processor = self._processor
        if processor is not None:
            ending = threading.Thread(target=processor.shutdown, name="last spans", daemon=True)
            ending.start()
            ending.join(max(0.0, deadline - monotonic()))
            whole = whole and not ending.is_alive()
        if not whole:
            self._exporter.lose(self._handed - self._exporter.taken, "the server ended before they were exported")
        self._exporter.close()

    def _export(self, records: Sequence[Record], indexed: bool, lost: int) -> None:
        if lost:
            self._exporter.lose(lost, "whole traces came faster than spans can be made of them")
        if not records:
            return
        if self._processor is None:
            settings = self._settings
            self._processor = BatchSpanProcessor(
                self._exporter,
                max_queue_size=settings.bsp_max_queue_size,
                schedule_delay_millis=settings.bsp_schedule_delay,
                max_export_batch_size=min(settings.bsp_max_export_batch_size, settings.bsp_max_queue_size),
            )
        for record in records:
            self._hand_over(self._spans(record), self._processor)

    def _hand_over(self, made: Sequence[ReadableSpan], processor: BatchSpanProcessor) -> None:
        largest = self._settings.bsp_max_queue_size
        room = largest - (self._handed - self._exporter.taken)
        # A part of a trace says less than none, so it waits whole or not at all; but for one that never could.
        kept = len(made) if len(made) <= room else largest if room == largest else 0
        for one in made[:kept]:
            processor.on_end(one)
        self._handed += kept
        if kept < len(made):
            self._exporter.lose(
                len(made) - kept, "they come faster than they are taken: bsp_max_queue_size of them wait"
            )

    def _spans(self, record: Record) -> list[ReadableSpan]:
        offset = time_ns() - monotonic_ns()
        state = TraceState()
        if record.context is not None and record.context.tracestate:
            state = TraceState.from_header([record.context.tracestate])
        made = []
        for one in spans(record):
            made.append(self._span(one, record, offset, state))
            self._pace()
        return made

    def _span(self, span: Span, record: Record, offset: int, state: TraceState) -> ReadableSpan:
        parent = None
        if span.parent:
            remote = span.parent_is_remote
            parent = SpanContext(
                record.trace_id, span.parent, is_remote=remote, trace_flags=_SAMPLED, trace_state=state
            )
        return ReadableSpan(
            name=_text(span.name),
            context=SpanContext(record.trace_id, span.id, is_remote=False, trace_flags=_SAMPLED, trace_state=state),
            parent=parent,
            resource=self._resource,
            attributes={_text(name): _value(value) for name, value in span.attributes.items()},
            events=[Event(name, timestamp=ns + offset) for name, ns in span.events],
            kind=SpanKind.SERVER if span.serves else SpanKind.INTERNAL,
            status=Status() if span.error is None else Status(StatusCode.ERROR, _text(span.error)),
            start_time=span.start_ns + offset,
            end_time=span.end_ns + offset,
            instrumentation_scope=_SCOPE,
        )


def _value(value: Parameter) -> Parameter:
    if isinstance(value, str):
        return _text(value)
    return str(value)[:MAX_TEXT] if type(value) is int and value not in _INT64 else value


def _text(text: str) -> str:
    """What can be exported of it: what has no UTF-8 would cost the whole batch too."""
    text = text[:MAX_TEXT]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
