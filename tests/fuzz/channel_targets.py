"""What a process that runs a model says to the server: its code is the model's author's, and may have lost its mind."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fuzz.target import Target, outcome

from atoll.errors import AtollError
from atoll.isolation import wire
from atoll.isolation.told_spans import parse_spans
from atoll.model_spans import MAX_ATTRIBUTES, MAX_NAME, MAX_SPANS, MAX_TEXT


def child_answer(data: bytes) -> None:
    """A response as it comes over the channel, without its header."""
    packet = outcome(lambda: wire.parse(memoryview(data), None))
    if isinstance(packet, wire.Packet):
        assert type(packet.facts) is dict
        assert outcome(lambda: wire.parse(memoryview(data), None).facts) == packet.facts or "NaN" in repr(data)
        check_spans(packet.facts.get("spans"))


def child_spans(data: bytes) -> None:
    """What it says of the model's own work in the trace of a request."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    check_spans(told)


def check_spans(told: Any) -> None:
    """Spans that are read can be written, and are bounded."""
    try:
        spans = parse_spans(told)
    except AtollError:
        return
    assert len(spans) <= MAX_SPANS + 1
    text = ""
    for index, span in enumerate(spans):
        assert 0 <= span.start_ns <= span.end_ns < 1 << 63
        assert -1 <= span.parent < index
        assert len(span.name) <= MAX_NAME
        assert len(span.attributes) <= MAX_ATTRIBUTES
        assert all(type(value) in (bool, int, float, str) for value in span.attributes.values())
        texts = [value for value in span.attributes.values() if isinstance(value, str)]
        text += "".join([span.name, span.error, *span.attributes, *texts])
    assert len(text) <= MAX_TEXT
    text.encode()


_SPANS = [
    ["tokenize", 10, 20, -1, {"rows": 3, "warm": True, "share": 0.5, "kind": "a"}, ""],
    ["inner", 11, 12, 0, {}, "ValueError: no \u00e9"],
]


def _message(facts: dict[str, Any]) -> bytes:
    return b"".join(bytes(part) for part in wire.pack(wire.RESPONSE, 1, None, facts=facts))[wire.HEADER.size :]


TARGETS: Mapping[str, Target] = {
    "child_answer": Target(
        child_answer,
        (
            _message({"spans": _SPANS}),
            _message({"error": "no", "code": "INTERNAL"}),
            _message({"parameters": {"a": 1}}),
        ),
    ),
    "child_spans": Target(child_spans, (json.dumps(_SPANS).encode(), b"[]", b'[["a",1,2,-1,{"k":1e999},""]]')),
}
