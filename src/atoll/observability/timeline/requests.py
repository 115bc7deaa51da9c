"""A traced request as it is drawn: its stages, its model's own spans, and the requests that were made for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Stage(NamedTuple):
    """A stretch of time, in nanoseconds of the file's clock. One that ends before it starts is as it was written."""

    name: str
    start_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        """Below 0 where it ends before it starts."""
        return self.end_ns - self.start_ns


class Mark(NamedTuple):
    """One moment."""

    name: str
    ns: int


class NotedTensor(NamedTuple):
    """An input or output. `data`: the beginning of its elements; `left_out`: how many characters follow that."""

    activity: str
    name: str
    datatype: str
    shape: str
    data: str
    left_out: int


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """What a file says of one request. `model` and `version` are "" where it does not say, as for those that were
    refused; `start_ns` and `end_ns` are 0 where it has no moments. `parent` is 0 for a client's.
    """

    id: int
    parent: int = 0
    model: str = ""
    version: str = ""
    request_id: str = ""
    trace_id: str = ""
    start_ns: int = 0
    end_ns: int = 0
    stages: tuple[Stage, ...] = ()
    spans: tuple[Stage, ...] = ()
    marks: tuple[Mark, ...] = ()
    tensors: tuple[NotedTensor, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def duration_ns(self) -> int:
        """From its start to its end."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class TraceTree:
    """A client's request and those made for it, with their depths; each stands behind the one it was made for."""

    requests: tuple[tuple[int, TracedRequest], ...]
    file: str = ""
    problems: tuple[str, ...] = field(default=())

    @property
    def root(self) -> TracedRequest:
        """The client's."""
        return self.requests[0][1]


WAIT: Final = "wait and read"
RECEIVE: Final = "receive"
QUEUE: Final = "queue"
INPUT: Final = "compute input"
INFER: Final = "compute infer"
OUTPUT: Final = "compute output"
SEND: Final = "send"
STAGES: Final = (WAIT, RECEIVE, QUEUE, INPUT, INFER, OUTPUT, SEND)
"""In the order in which a request passes them. The first one is gRPC's, and begins before there is a request: the real
server counts from when it was ready for one.
"""

_WAIT_START: Final = "GRPC_WAITREAD_START"
_BORDERS: Final[Sequence[tuple[str, str, str]]] = (
    (RECEIVE, "HTTP_RECV_START", "HTTP_RECV_END"),
    (WAIT, _WAIT_START, "GRPC_WAITREAD_END"),
    (QUEUE, "QUEUE_START", "COMPUTE_START"),
    (INPUT, "COMPUTE_START", "COMPUTE_INPUT_END"),
    (INFER, "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"),
    (OUTPUT, "COMPUTE_OUTPUT_START", "COMPUTE_END"),
)
_SENDS: Final = ("HTTP_SEND", "GRPC_SEND")
_KNOWN: Final = {name for _, *names in _BORDERS for name in names} | {"REQUEST_START", "REQUEST_END"}
COMPLETE: Final = "INFER_RESPONSE_COMPLETE"
_START, _END = "_START", "_END"


class Moments(NamedTuple):
    """What the stamps of a request mean."""

    start_ns: int
    end_ns: int
    stages: tuple[Stage, ...]
    spans: tuple[Stage, ...]
    marks: tuple[Mark, ...]
    problems: tuple[str, ...]


def moments_of(stamps: Sequence[tuple[str, int]]) -> Moments:
    """Of names and moments as they stand in a file.

    What a client waits for begins where its request has been read: with HTTP_RECV_START, or GRPC_WAITREAD_END, as the
    wait before that is the client's own. NAME_START and NAME_END of any other name are a span of the model's.
    """
    first: dict[str, int] = {}
    for name, ns in stamps:
        first.setdefault(name, ns)
    stages = [Stage(stage, first[a], first[b]) for stage, a, b in _BORDERS if a in first and b in first]
    sends, spans, marks = _pairs(stamps)
    stages += sends
    problems = [f"{one.name} ends before it starts" for one in (*stages, *spans) if one.duration_ns < 0]
    inside = [ns for name, ns in stamps if name != _WAIT_START] or [ns for _, ns in stamps]
    return Moments(
        min(inside, default=0),
        max(inside, default=0),
        tuple(stages),
        tuple(sorted(spans, key=lambda one: (one.start_ns, -one.end_ns))),
        tuple(marks),
        tuple(dict.fromkeys(problems)),
    )


def _pairs(stamps: Iterable[tuple[str, int]]) -> tuple[list[Stage], list[Stage], list[Mark]]:
    """What is sent, the spans, and the moments that belong to neither. An end closes the last start of its name."""
    sends: list[Stage] = []
    spans: list[Stage] = []
    marks: list[Mark] = []
    started: dict[str, list[int]] = {}
    own = ((name, ns) for name, ns in stamps if name not in _KNOWN)
    for full_name, ns in sorted(own, key=lambda one: (one[1], one[0].endswith(_END))):
        if full_name.endswith(_START) and full_name != _START:
            started.setdefault(full_name.removesuffix(_START), []).append(ns)
            continue
        name = full_name.removesuffix(_END)
        starts = started.get(name) if name and name != full_name else None
        if not starts:
            marks.append(Mark(full_name, ns))
        elif name in _SENDS:
            sends.append(Stage(SEND, starts.pop(), ns))
        else:
            spans.append(Stage(name, starts.pop(), ns))
    marks += [Mark(name + _START, ns) for name, left in started.items() for ns in left]
    return sends, spans, sorted(marks, key=lambda one: one.ns)


def is_hidden(mark: Mark) -> bool:
    """Whether a mark says nothing that the stages do not show."""
    return mark.name == COMPLETE


def stage_totals(request: TracedRequest) -> Mapping[str, int]:
    """How long it was in each stage, and in the model's spans of each name, in nanoseconds."""
    totals: dict[str, int] = {}
    for one in (*request.stages, *request.spans):
        totals[one.name] = totals.get(one.name, 0) + one.duration_ns
    return totals
