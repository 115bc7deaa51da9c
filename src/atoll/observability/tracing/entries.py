"""A record as entries of a trace file, in the form of Triton's own."""

import sys
from collections.abc import Iterator
from typing import Any

from atoll.observability.tracing.record import Part, Record
from atoll.request import Timeline

Entry = dict[str, Any]


def entries(record: Record) -> Iterator[Entry]:
    """What is written of a record that is whole: requests made for another stand before it."""
    for part in reversed(record.parts):
        yield from _of_part(part, record)


def _of_part(part: Part, record: Record) -> Iterator[Entry]:
    """In the order of what happened, as far as one thing follows another."""
    number, timeline = part.id, part.timeline
    if record.timestamps:
        yield from _stamps(number, part.before)
        if part.model is not None:
            yield _description(part, *part.model)
        if timeline is not None:
            yield from _stamps(
                number, [("REQUEST_START", timeline.request_start), ("QUEUE_START", timeline.queue_start)]
            )
    for activity, tensor in part.tensors:
        if activity == "TENSOR_QUEUE_INPUT":
            yield {"id": number, "activity": activity, "tensor": tensor}
    if record.timestamps and timeline is not None and not part.composed:
        yield from _stamps(number, computed(timeline))
    for activity, tensor in part.tensors:
        if activity != "TENSOR_QUEUE_INPUT":
            yield {"id": number, "activity": activity, "tensor": tensor}
    if record.timestamps:
        for span in part.spans:
            yield from _stamps(number, [(f"{span.name}_START", span.start_ns), (f"{span.name}_END", span.end_ns)])
        if timeline is not None:
            ended = [("INFER_RESPONSE_COMPLETE", part.response_ns), ("REQUEST_END", timeline.request_end)]
            yield from _stamps(number, ended)
        yield from _stamps(number, part.after)


def _description(part: Part, model_name: str, version: str) -> Entry:
    entry: Entry = {"id": part.id, "model_name": model_name, "model_version": int(version)}
    if part.request_id:
        entry["request_id"] = part.request_id
    if part.parent is not None:
        entry["parent_id"] = part.parent_id
    context = part.record.context
    if context is not None and part.parent is None:
        entry["trace_id"] = context.trace_id
    return entry


def computed(stamps: Timeline) -> list[tuple[str, int]]:
    """When what of a request was computed; 0 where it was not."""
    # An instance stamps a batch when its execution returns, and may have answered this request before that.
    last = stamps.compute_end or sys.maxsize
    return [
        ("COMPUTE_START", stamps.compute_start),
        ("COMPUTE_INPUT_END", min(stamps.compute_input_end, last)),
        ("COMPUTE_OUTPUT_START", min(stamps.compute_output_start, last)),
        ("COMPUTE_END", stamps.compute_end),
    ]


def _stamps(number: int, stamps: list[tuple[str, int]]) -> Iterator[Entry]:
    for name, ns in stamps:
        if ns:
            yield {"id": number, "timestamps": [{"name": name, "ns": ns}]}
