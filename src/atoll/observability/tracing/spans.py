"""A record as spans: which there are, when they began and ended, and whose children they are.

Names, attributes and events are those of tritonserver's mode opentelemetry where it has them:

    InferRequest                        a client's request, from its receipt until its answer has gone
      MODEL                             what its model did with it
        queue                           until an instance took it
        batch                           the execution of the batch that it was in
          compute                       with the inputs and outputs of the batch
            ...                         what the model's own code says that it did
        MODEL                           a request made for it: an ensemble's step, or a model's own call
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from atoll.observability.tracing.entries import computed
from atoll.observability.tracing.record import Part, Record, new_id
from atoll.request import ModelSpan, Parameter, Timeline

MAX_EVENTS = 128  # of one span: what the OpenTelemetry specification recommends
Stamp = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """`parent` 0: it has none; `parent_is_remote`: it is the client's own. `serves`: the request came over the network.
    Moments in monotonic nanoseconds; `error`: how it failed, None where it did not.
    """

    name: str
    id: int
    parent: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Parameter] = field(default_factory=dict)
    events: Sequence[Stamp] = ()
    error: str | None = None
    parent_is_remote: bool = False
    serves: bool = False


def spans(record: Record) -> list[Span]:
    """Of a record that is whole; each parent before its children."""
    made: list[Span] = []
    for part in record.parts:
        parent = part.parent.span_id if part.parent is not None else 0
        if part.parent is None:
            root = _request(part, record)
            made.append(root)
            parent = root.id
        made += _of_part(part, parent)
    return made


def _request(part: Part, record: Record) -> Span:
    stamps = [*part.before, ("INFER_RESPONSE_COMPLETE", part.response_ns), *part.after]
    stamps = sorted((stamp for stamp in stamps if stamp[1]), key=lambda stamp: stamp[1])
    context = record.context
    attributes: dict[str, Parameter] = {"triton.model_name": part.asked}
    if part.request_id:
        attributes["triton.request_id"] = part.request_id
    return Span(
        "InferRequest",
        new_id(64),
        0 if context is None else int(context.parent_id, 16),
        stamps[0][1] if part.before else record.began_ns,
        max([record.ended_ns, *(ns for _, ns in stamps)]),
        attributes,
        _bounded(stamps),
        part.error or None,
        parent_is_remote=context is not None,
        serves=bool(part.before),
    )


def _bounded(stamps: list[Stamp]) -> list[Stamp]:
    """A stream's first and last ones."""
    half = MAX_EVENTS // 2
    return stamps if len(stamps) <= MAX_EVENTS else stamps[:half] + stamps[-half:]


def _of_part(part: Part, parent: int) -> Iterator[Span]:
    timeline = part.timeline or Timeline()
    start_ns = timeline.request_start or part.began_ns
    end_ns = max(start_ns, timeline.request_end or part.ended_ns)
    error = part.error or None
    name, version = part.model or (part.asked, "")
    events = [("REQUEST_START", timeline.request_start), ("QUEUE_START", timeline.queue_start)]
    if timeline.request_end:
        events.append(("REQUEST_END", timeline.request_end))
    yield Span(name, part.span_id, parent, start_ns, end_ns, _description(part, name, version), _seen(events), error)
    begun = 0 if part.composed else timeline.compute_start
    # What the response cache answers waits for nothing.
    if timeline.queue_start and not part.composed and (begun or error is not None):
        until = begun or end_ns
        yield Span("queue", new_id(64), part.span_id, timeline.queue_start, max(timeline.queue_start, until))
    above = part.span_id
    if begun:
        finished = max(begun, timeline.compute_end or end_ns)
        if part.execution is not None:
            execution = part.execution
            attributes: dict[str, Parameter] = {
                "atoll.batch.size": execution.batch_size,
                "atoll.batch.requests": execution.requests,
                "atoll.instance": execution.instance,
            }
            above = new_id(64)
            yield Span("batch", above, part.span_id, begun, finished, attributes)
        stamps = [(stamp, min(max(ns, begun), finished)) for stamp, ns in _seen(computed(timeline))]
        compute = Span("compute", new_id(64), above, begun, finished, {}, stamps, error)
        yield compute
        above = compute.id
    yield from _own(tuple(part.spans), above)  # a copy: a model may still be at it


def _description(part: Part, name: str, version: str) -> dict[str, Parameter]:
    attributes: dict[str, Parameter] = {"triton.model_name": name}
    if version:
        attributes["triton.model_version"] = int(version)
    attributes["triton.trace_id"] = part.id
    attributes["triton.trace_parent_id"] = part.parent_id
    if part.request_id:
        attributes["triton.request_id"] = part.request_id
    return attributes


def _seen(stamps: Sequence[Stamp]) -> list[Stamp]:
    return [stamp for stamp in stamps if stamp[1]]


def _own(noted: Sequence[ModelSpan], above: int) -> Iterator[Span]:
    """The model's own. One whose parents lead nowhere, or back to itself, is a child of `above`."""
    ids = [new_id(64) for _ in noted]
    parents = _parents(noted)
    for index in sorted(range(len(noted)), key=lambda one: noted[one].start_ns):
        one, parent = noted[index], parents[index]
        yield Span(
            one.name,
            ids[index],
            above if parent < 0 else ids[parent],
            one.start_ns,
            max(one.start_ns, one.end_ns),
            one.attributes,
            (),
            one.error or None,
        )


def _parents(noted: Sequence[ModelSpan]) -> list[int]:
    """The parent of each, by index; -1 for none, and where a circle would close."""
    parents = [one.parent if 0 <= one.parent < len(noted) else -1 for one in noted]
    settled = [False] * len(noted)
    for start in range(len(noted)):
        path: list[int] = []
        on_path: set[int] = set()
        at = start
        while at >= 0 and not settled[at]:
            if at in on_path:
                parents[at] = -1
                break
            path.append(at)
            on_path.add(at)
            at = parents[at]
        for index in path:
            settled[index] = True
    return parents
