"""The access log: a JSON line for each request that was answered, over whichever protocol.

Who answers a request only notes what it has at hand; a thread makes lines of it a little later. What is noted holds on
to no tensor, and texts of clients are cut, so what waits is bounded; what comes beyond that is counted and said.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic_ns
from typing import Any, Final, NamedTuple, Protocol

from atoll.errors import InvalidArgumentError
from atoll.observability.logging.files import LogFile, Output, StandardStream
from atoll.observability.logging.line_writer import LineWriter
from atoll.observability.logging.lines import json_line, utc_time
from atoll.request import InferenceRequest, Timeline

logger = logging.getLogger(__name__)

_STREAMS: Final[Mapping[str, int]] = {"stdout": 1, "stderr": 2}
_CAPACITY: Final = 65_536  # lines
_PAUSE_S: Final = 0.1  # in which they gather
_SILENCE_NS: Final = 10_000_000_000  # between two warnings that lines are lost
_LONGEST: Final = 512  # characters of a text that a client has chosen

Headers = Iterable[tuple[str, str | bytes]]

_LOGGED_HEADERS: Final = frozenset({"x-request-id", "traceparent"})


class Facts(NamedTuple):
    """What is known of a request of inference: what outlives the request itself, and is small."""

    request_id: str
    model: str
    version: str
    timeline: Timeline | None


class Access(NamedTuple):
    """One request that was answered. Times are monotonic nanoseconds; `status` is HTTP's number or gRPC's word.

    Texts are `short`, and of the headers there are those that are logged (`logged_headers`). `key` is the name of the
    API key.
    """

    protocol: str
    peer: str
    method: str
    path: str
    status: int | str
    began_ns: int
    ended_ns: int
    bytes_in: int
    bytes_out: int
    headers: Headers
    key: str = ""
    facts: Facts | None = None
    extra: Mapping[str, Any] | None = None


class AccessLog:
    """Usable from any thread; `note` never waits. Raises InvalidArgumentError where the file cannot be written."""

    def __init__(self, place: str):
        self._silent_until_ns = 0
        self._offset_ns = time.time_ns() - monotonic_ns()
        self._writer: LineWriter[Access] = LineWriter(
            "access-log", _output(place), self._render, capacity=_CAPACITY, pause_s=_PAUSE_S
        )
        self.note = self._writer.put
        """Have a line written for an `Access`."""

    def reopen(self) -> None:
        """Open the file anew before the next line. Also from a signal handler."""
        self._writer.reopen()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until what was noted is written; False where that takes longer."""
        return self._writer.flush(timeout_s)

    def close(self) -> None:
        """Write what there is."""
        flushed = self._writer.close()
        if self._writer.lost or not flushed:
            logger.warning("the end of the access log could not be written: %d lines are lost", self._writer.lost)

    def _render(self, noted: Sequence[Access], lost: int) -> bytes:
        lines = []
        if lost:
            lines.append(json_line({"time": utc_time(time.time()), "lost": lost}))
            self._warn(lost)
        lines += [json_line(self._document(one)) for one in noted]
        return ("\n".join(lines) + "\n").encode()

    def _warn(self, lost: int) -> None:
        if monotonic_ns() >= self._silent_until_ns:
            self._silent_until_ns = monotonic_ns() + _SILENCE_NS
            logger.warning("%d lines of the access log could not be written, or not as fast as they came", lost)

    def _document(self, one: Access) -> dict[str, Any]:
        document: dict[str, Any] = {
            "time": utc_time((one.began_ns + self._offset_ns) / 1e9),
            "peer": one.peer,
            "protocol": one.protocol,
            "method": one.method,
            "path": one.path[:_LONGEST],
            "status": one.status,
            "bytes_in": one.bytes_in,
            "bytes_out": one.bytes_out,
            "duration_us": (one.ended_ns - one.began_ns) // 1000,
        }
        if one.facts is not None:
            _add_facts(document, one.facts)
        _add_headers(document, one.headers)
        if one.key:
            document["key"] = one.key
        if one.extra:
            document.update(one.extra)
        return document


class Version(Protocol):
    """A model's version that takes a request."""

    name: str
    version: str


def facts_of(request: InferenceRequest, model: Version) -> Facts:
    """What is logged of a request that is about to be handed to the engine."""
    return Facts(short(request.id), model.name, model.version, request.timeline)


def short(text: str) -> str:
    """A text of a client's, cut where it is long."""
    return text if len(text) <= _LONGEST else text[:_LONGEST]


def logged_headers(headers: Headers) -> Headers:
    """Those of a request's headers that are logged: the others must not wait with the line. Names are in lower case."""
    found = {name: value[:_LONGEST] for name, value in headers if name in _LOGGED_HEADERS and isinstance(value, str)}
    return tuple(found.items())


def _add_facts(document: dict[str, Any], facts: Facts) -> None:
    if facts.model:
        document["model"] = facts.model[:_LONGEST]
    if facts.version:
        document["version"] = facts.version
    if facts.request_id:
        document["request_id"] = facts.request_id
    timeline = facts.timeline
    if timeline is not None and timeline.queue_start and timeline.compute_start:
        document["queue_us"] = max(timeline.compute_start - timeline.queue_start, 0) // 1000
        if timeline.compute_end:
            document["compute_us"] = max(timeline.compute_end - timeline.compute_start, 0) // 1000


def _add_headers(document: dict[str, Any], headers: Headers) -> None:
    for name, value in headers:
        if not isinstance(value, str):
            continue
        if name == "x-request-id":
            document["x_request_id"] = value[:_LONGEST]
        elif name == "traceparent":
            trace_id = _trace_id(value)
            if trace_id:
                document["trace_id"] = trace_id


def _trace_id(traceparent: str) -> str:
    """W3C Trace Context, section 3.2: version, trace-id, parent-id, flags; a trace-id of zeros is none."""
    parts = traceparent.strip().split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or not parts[1].strip("0"):
        return ""
    return parts[1] if all(character in "0123456789abcdef" for character in parts[1]) else ""


def _output(place: str) -> Output:
    descriptor = _STREAMS.get(place)
    if descriptor is not None:
        return StandardStream(descriptor)
    try:
        return LogFile(place)
    except OSError as error:
        raise InvalidArgumentError(
            f"the access log '{place}' cannot be written: {error.strerror}. --access-log must be stdout, stderr, or a "
            "file in a directory that exists and may be written to"
        ) from error
