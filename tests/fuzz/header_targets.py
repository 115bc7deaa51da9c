"""Headers that mean something: trace contexts, forwarded ones, media types of hosting services, API keys."""

import json
import re
from collections.abc import Mapping

from tests.fuzz.target import Target, outcome

from atoll.frontends.access.credentials import token_of
from atoll.frontends.hosting.media_type import infer_head
from atoll.frontends.http.head import IMPOSSIBLE, RequestHead
from atoll.frontends.inference.carried_headers import LONGEST_NAME, RESERVED, HeaderReader
from atoll.observability.tracing.context import (
    MAX_MEMBERS,
    TraceContext,
    checked_parent,
    checked_state,
    context_of_text,
    read_context,
)
from atoll.request import InferenceRequest

Headers = list[tuple[str, str]]

_PARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MEDIA_TYPE = "application/vnd.vertex-ai-triton.binary+json;json-header-size="


def _headers(data: bytes) -> Headers:
    """As the parser of heads gives them."""
    lines = (line.partition(b":") for line in data.split(b"\n"))
    return [
        (name.decode("latin-1").lower(), value.strip().decode("utf-8", "surrogateescape")) for name, _, value in lines
    ]


def _context_holds(context: TraceContext | None) -> None:
    if context is None:
        return
    assert _PARENT.fullmatch(context.traceparent)
    assert context.trace_id.strip("0")
    assert context.tracestate.count(",") < MAX_MEMBERS
    assert context.tracestate.isascii()
    assert context.tracestate.isprintable()
    assert checked_parent(context.traceparent) == context.traceparent
    assert checked_state([context.tracestate]) == context.tracestate
    assert context_of_text(context.text) == context


def trace_context(data: bytes) -> None:
    """What is taken over keeps to the rules, and taken again it is the same."""
    _context_holds(read_context(_headers(data)))
    _context_holds(context_of_text(data.decode("utf-8", "replace")))


_TRACEPARENT = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"
_CONTEXTS = (
    _TRACEPARENT + b"tracestate: a=1, b@c=2,,\ntracestate: d=3",
    b"traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-more",
    b'{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=1"}',
)

_READERS = tuple(
    HeaderReader(pattern, "http-header-forward-pattern", frozenset({"authorization"}))
    for pattern in ("", ".*", "x-user-[a-z]+$|^sequence")
)


def forwarded_headers(data: bytes) -> None:
    """Whatever the pattern, no header changes a sequence or carries a secret to a model, and texts stay texts."""
    headers = _headers(data)
    for reader in _READERS:
        carried = reader.read(headers)
        if carried is None:
            continue
        for name, value in carried.parameters.items():
            assert len(name) <= LONGEST_NAME
            assert name.lower() not in RESERVED | {"authorization"}
            assert (name, value) in headers
        assert carried.load_metrics in ("", "json", "text")
        _context_holds(carried.context)
        request = InferenceRequest("m", {}, None, parameters={"kept": 1})  # type: ignore[arg-type]
        carried.give(request)
        assert request.parameters is not None
        json.dumps(request.parameters).encode()  # as it goes to the processes of models


_FORWARDED = (
    b"x-user-name: \xff\xc3\xa9\nSequence_ID: 7\nauthorization: Bearer k\n" + _TRACEPARENT,
    b"endpoint-load-metrics-format: json\n: \nx-user-a:",
)


def media_type(data: bytes) -> None:
    """A length is one that a body can be compared with."""
    head = RequestHead("POST", _headers(b"content-type: " + _MEDIA_TYPE.encode() + data + b"\n" + data))
    head.content_coding = "gzip"
    changed = infer_head(head, "m", _MEDIA_TYPE)
    assert -1 <= changed.json_size <= max(IMPOSSIBLE, 10**20)
    assert (changed.json_length is None) == (changed.json_size == -1)
    assert changed.arguments == {"model": "m"}
    assert not changed.content_coding
    assert head.content_coding


_MEDIA_TYPES = (b"12", b" +0000000000000000000000000000001", b"-1", b"x\ncontent-type: " + _MEDIA_TYPE.encode() + b"3")


def credentials(data: bytes) -> None:
    """A key is found, or the client is told; nothing of what it sent is repeated."""
    headers = _headers(data)
    found = outcome(lambda: token_of(headers))
    if isinstance(found, str):
        assert found.isascii()
        assert any(found in value for name, value in headers if name in ("x-api-key", "authorization"))
    else:
        assert all(value not in found[1] for _, value in headers if len(value) > 20)


_CREDENTIALS = (
    b"authorization: Bearer atoll_abcdefghijklmnopqrstuvwxyz0123456789==",
    b"x-api-key: atoll_abcdefghijklmnopqrstuvwxyz\nauthorization: bearer   other_abcdefghijklmnop",
    b"authorization: Basic dXNlcjpwYXNz",
)


TARGETS: Mapping[str, Target] = {
    "trace_context": Target(trace_context, _CONTEXTS),
    "forwarded_headers": Target(forwarded_headers, _FORWARDED),
    "media_type": Target(media_type, _MEDIA_TYPES),
    "credentials": Target(credentials, _CREDENTIALS),
}
