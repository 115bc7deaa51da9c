"""A receiver of traces: takes exports over OTLP/HTTP, decodes the official messages, and keeps what they said."""

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True)
class Span:
    """One that was received. `parent` is "" where there is none; moments in nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, int, Mapping[str, Any]], ...]
    status: str
    message: str
    state: str
    flags: int
    resource: Mapping[str, Any] = field(repr=False)
    scope: str = field(repr=False)

    @property
    def event_names(self) -> list[str]:
        return [name for name, _, _ in self.events]


class Receiver:
    """What came in so far. `answer` says what is answered to each export, by its number from 0; it may wait."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.exports: list[Mapping[str, str]] = []  # the headers of each, refused ones too
        self.paths: list[str] = []
        self.answer: Callable[[int], int] = lambda number: 200
        self.port = 0
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/v1/traces"

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """An export; the status of the answer."""
        with self._changed:
            number = len(self.exports)
            self.exports.append(headers)
            self.paths.append(path)
            self._changed.notify_all()
        status = self.answer(number)
        if status == 200:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            spans = list(_spans(_message(headers.get("content-type", ""), body)))
            with self._changed:
                self.spans += spans
                self._changed.notify_all()
        return status

    def wait(self, condition: Callable[[list[Span]], Any], timeout_s: float = 60.0) -> list[Span]:
        """The spans, as soon as they are as wanted."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.spans), timeout_s):
                raise AssertionError("not received in time; what came:\n" + "\n".join(map(str, self.spans)))
            return list(self.spans)

    def wait_exports(self, count: int, timeout_s: float = 60.0) -> None:
        """Until so many exports were tried."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.exports) >= count, timeout_s):
                raise AssertionError(f"{len(self.exports)} exports came, and not {count}")

    def trace(self, id: str) -> list[Span]:
        return [span for span in self.spans if span.trace == id]


def _message(content_type: str, body: bytes) -> ExportTraceServiceRequest:
    """Of protobuf; or of JSON, as the real server sends it, where ids are hexadecimal and not base64."""
    if "json" not in content_type:
        return ExportTraceServiceRequest.FromString(body)
    document = json.loads(body, object_hook=_with_ids)
    return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _with_ids(entry: dict[str, Any]) -> dict[str, Any]:
    ids = entry.keys() & {"traceId", "spanId", "parentSpanId"}
    return {**entry, **{name: base64.b64encode(bytes.fromhex(entry[name])).decode() for name in ids}}


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=KINDS[span.kind],
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    events=tuple((one.name, one.time_unix_nano, _attributes(one.attributes)) for one in span.events),
                    status=STATUSES[span.status.code],
                    message=span.status.message,
                    state=span.trace_state,
                    flags=span.flags,
                    resource=resource,
                    scope=scope_spans.scope.name,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    return _plain(pair.value)


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.receiver.take(self.path, headers, body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:
        """In silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who exports may go away before it is answered."""


@contextmanager
def running(receiver: Receiver | None = None, port: int = 0) -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = receiver or Receiver()
    server = _Server(("127.0.0.1", port), type("Requests", (_Requests,), {"receiver": receiver}))
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, name="receiver", daemon=True, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
