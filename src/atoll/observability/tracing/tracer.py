"""Which requests are traced, and where their traces go: one for a server."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from atoll.errors import UnavailableError
from atoll.observability.tracing.context import TraceContext
from atoll.observability.tracing.file import TraceFiles
from atoll.observability.tracing.record import Part, Record, new_id
from atoll.observability.tracing.settings import TraceSettings, TraceUpdate, updated
from atoll.observability.tracing.trace import RequestTrace, TracedSender
from atoll.request import InferenceRequest

MAX_PENDING = 10_000  # traces that are kept for an indexed file; one of more would fill the memory first
MAX_PENDING_BYTES = 64 << 20  # and what they take


class Destination(Protocol):
    """Where records go that are whole."""

    def write(self, records: Sequence[Record], indexed: bool) -> None:
        """Take them; `indexed`: in a file of their own. Returns at once."""

    def close(self) -> None:
        """Write what is left, and end."""


class Tracer:
    """`active` is all that a request looks at while nothing is traced. Thread-safe.

    Raises UnavailableError where traces are to be exported and what that needs is not installed.
    """

    def __init__(self, initial: TraceSettings | None = None):
        self._initial = initial or TraceSettings()
        self._lock = threading.Lock()
        self._destination = _destination(self._initial)
        self._ids = itertools.count(1)
        self._all = _Sampler(self._initial, frozenset(), self._destination)
        self._models: dict[str, _Sampler] = {}
        self.active = self._initial.active

    # ---- settings

    def settings(self, model_name: str = "") -> TraceSettings:
        """Those of a model, or of all that have none of their own."""
        with self._lock:
            return self._models.get(model_name, self._all).settings

    def update(self, update: TraceUpdate, model_name: str = "") -> TraceSettings:
        """Change the settings of a model or of all, and return them; models keep what was set for them alone.

        Raises InvalidArgumentError where requests would be traced and there is no file for it; nothing is changed then.
        """
        with self._lock:
            if model_name:
                return self._update_model(model_name, update)
            settings, specified = updated(self._all.settings, self._all.specified, self._initial, update)
            inherited = {
                name: updated(one.settings, one.specified, settings, _NOTHING) for name, one in self._models.items()
            }
            for sampler in (self._all, *self._models.values()):
                sampler.end()
            self._all = _Sampler(settings, specified, self._destination)
            self._models = {name: _Sampler(*made, self._destination) for name, made in inherited.items()}
            self._look()
            return settings

    def _update_model(self, name: str, update: TraceUpdate) -> TraceSettings:
        own = self._models.get(name)
        specified = frozenset() if own is None else own.specified
        current = self._all.settings if own is None else own.settings
        settings, specified = updated(current, specified, self._all.settings, update)
        if own is not None:
            own.end()
        if specified:
            self._models[name] = _Sampler(settings, specified, self._destination)
        else:
            self._models.pop(name, None)
        self._look()
        return settings

    def _look(self) -> None:
        self.active = any(one.settings.active for one in (self._all, *self._models.values()))

    # ---- requests

    def begin(
        self, request: InferenceRequest, context: TraceContext | None = None, *, client: bool = False
    ) -> Part | None:
        """A request, before it is submitted: give it its trace, if it gets one; its part of it, if it is recorded.

        `client`: it came over the network. Who brought it wraps its sender in a TracedSender, and calls the part's
        `end` when the answer has gone, or the request was refused. All others call `refused` of the trace then.
        """
        record = self._sampled(request.model_name, context) if self.active else None
        part = None if record is None else record.begin(None, request.model_name)
        if record is None or part is None:
            if context is not None:
                request.trace = RequestTrace(context)
            return None
        request.trace = RequestTrace(context, part)
        if not client:
            request.sender = TracedSender(part, request.sender, ends=True)
        return part

    def _sampled(self, model_name: str, context: TraceContext | None) -> Record | None:
        with self._lock:
            sampler = self._models.get(model_name, self._all)
            if not sampler.takes(context):
                return None
            self._look()
        levels = sampler.settings.levels
        trace_id = 0
        if sampler.settings.export is not None:
            trace_id = new_id(128) if context is None else int(context.trace_id, 16)
        return Record(
            timestamps="TIMESTAMPS" in levels,
            tensors="TENSORS" in levels and not trace_id,
            context=context,
            next_id=self._ids.__next__,
            collect=self._collector(sampler),
            trace_id=trace_id,
        )

    def _collector(self, sampler: "_Sampler") -> Callable[[Record], None]:
        def collect(record: Record) -> None:
            with self._lock:
                sampler.collect(record)

        return collect

    def close(self) -> None:
        """The server has answered everything: write what is not written yet."""
        with self._lock:
            self.active = False
            for sampler in (self._all, *self._models.values()):
                sampler.end()
        self._destination.close()


_NOTHING = TraceUpdate({})


def _destination(settings: TraceSettings) -> Destination:
    if settings.export is None:
        return TraceFiles(settings.file)
    try:
        from atoll.observability.tracing.span_exports import SpanExports
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("opentelemetry", "requests"):
            raise
        raise UnavailableError(
            "--trace-config=mode=opentelemetry needs OpenTelemetry's libraries, which are not installed: "
            "pip install 'atoll[opentelemetry]'"
        ) from None
    return SpanExports(settings.export)


class _Sampler:
    """Settings at work: how many requests were seen, and what is traced and not written yet. Its calls are made under
    the tracer's lock.
    """

    def __init__(self, settings: TraceSettings, specified: frozenset[str], destination: Destination):
        self.settings = settings  # with the count that is left
        self.specified = specified
        self._destination = destination
        self._seen = 0
        self._pending: list[Record] = []
        self._weight = 0
        # At once, so that a server that dies leaves what it has traced.
        self._at_once = settings.export is not None or not settings.log_frequency
        self._most = min(settings.log_frequency, MAX_PENDING)

    def takes(self, context: TraceContext | None) -> bool:
        """Whether the request that comes now is traced. What is exported is a part of the client's trace, so the client
        decides where it has one.
        """
        settings = self.settings
        if context is not None and settings.export is not None:
            return context.sampled and bool(settings.levels)
        if not settings.samples:
            return False
        self._seen += 1
        if self._seen % settings.rate:
            return False
        if settings.count > 0:
            self.settings = replace(settings, count=settings.count - 1)
        return True

    def collect(self, record: Record) -> None:
        """One that is whole."""
        self._pending.append(record)
        self._weight += record.weight
        if self._at_once or len(self._pending) >= self._most or self._weight >= MAX_PENDING_BYTES:
            self.write()

    def write(self) -> None:
        """What is there, however little."""
        if self._pending:
            self._destination.write(self._pending, indexed=self.settings.log_frequency > 0)
            self._pending = []
            self._weight = 0

    def end(self) -> None:
        """Other settings take its place; what is still under way is written when it comes."""
        self.write()
        self._at_once = True
