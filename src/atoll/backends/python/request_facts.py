"""What a request's parameters say beside the model's own: its sequence and its timeout, apart from the rest.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

START, END = 1, 2  # TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END


class RequestFacts(NamedTuple):
    """Of one request. `parameters` are those that the client's author chose."""

    correlation_id: int | str
    flags: int
    timeout: int
    parameters: Mapping[str, Any]
    outputs: tuple[str, ...]
    trace_context: str | None
    trace_number: int = 0


PLAIN = RequestFacts(0, 0, 0, {}, (), None)
_NO_TRACE = (None, 0)
_REMEMBERED = 1024
_SHORT = 4096  # characters of parameters, up to which they are
_seen: dict[int, tuple[object, RequestFacts]] = {}  # by identity; the object is held, so that its number stays its own


def request_facts(facts: Mapping[str, Any]) -> RequestFacts:
    """Of the facts that came with a request (isolation/link.py). The same object is looked at once."""
    if not facts:
        return PLAIN
    found = _seen.get(id(facts))
    if found is not None:
        return found[1]
    trace_context, trace_number = facts.get("trace", _NO_TRACE)
    read = split_parameters(
        facts.get("parameters", {}),
        timeout=facts.get("timeout", 0),
        outputs=tuple(facts.get("outputs", ())),
        trace_context=trace_context,
        trace_number=trace_number,
    )
    if "trace" in facts:
        return read  # of this request only
    if sum([len(key) + len(one) for key, one in read.parameters.items() if type(one) is str]) <= _SHORT:
        if len(_seen) >= _REMEMBERED:
            _seen.clear()
        _seen[id(facts)] = (facts, read)
    return read


def split_parameters(
    parameters: Mapping[str, Any],
    *,
    timeout: int = 0,
    outputs: tuple[str, ...] = (),
    trace_context: str | None = None,
    trace_number: int = 0,
) -> RequestFacts:
    """The sequence's parameters are taken out."""
    own = parameters
    correlation_id: int | str = 0
    flags = 0
    if parameters and not parameters.keys().isdisjoint(("sequence_id", "sequence_start", "sequence_end")):
        own = dict(parameters)
        correlation_id = own.pop("sequence_id", 0)
        flags = (START if own.pop("sequence_start", False) else 0) | (END if own.pop("sequence_end", False) else 0)
    return RequestFacts(correlation_id, flags, timeout, own, outputs, trace_context, trace_number)
