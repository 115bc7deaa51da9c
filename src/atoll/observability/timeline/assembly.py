"""Entries put together by the id of their request, and requests by whom they were made for; in bounded memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

from atoll.observability.timeline.entries import ArrayEnd
from atoll.observability.timeline.requests import NotedTensor, TracedRequest, TraceTree, moments_of

MAX_HELD: Final = 500_000  # moments, tensors and requests that are waiting for what else belongs to them
MAX_STAMPS: Final = 10_000  # of one request; a stream sends often
MAX_TENSORS: Final = 64  # of one request
MAX_DATA: Final = 200  # characters that are kept of a tensor
MAX_TEXT: Final = 512  # of a name or an id
_MOST_NS: Final = 1 << 64


@dataclass(slots=True)
class Skipped:
    """What a file holds that no trace shows: `entries` that are none, `stamps` that are no moments."""

    entries: int = 0
    stamps: int = 0


@dataclass(slots=True)
class _Part:
    """What was read of one request."""

    id: int
    parent: int = 0
    model: str = ""
    version: str = ""
    request_id: str = ""
    trace_id: str = ""
    stamps: list[tuple[str, int]] = field(default_factory=list)
    tensors: list[NotedTensor] = field(default_factory=list)
    left_out: int = 0

    @property
    def weight(self) -> int:
        return 1 + len(self.stamps) + len(self.tensors)


def assemble(entries: Iterable[Any], skipped: Skipped, *, file: str = "", most: int = MAX_HELD) -> Iterator[TraceTree]:
    """The traces of a file, in the order in which their client's requests stand there. What is noted of one may lie
    anywhere in its array, as far as `most` allows; beyond that the oldest ones are given out as they are.

    What `entries` raises is raised when all that was whole before has been given out.
    """
    table: dict[int, _Part] = {}
    held = 0
    try:
        for entry in entries:
            if isinstance(entry, ArrayEnd):
                yield from _trees(table, file)
                table, held = {}, 0
                continue
            id_ = entry.get("id") if isinstance(entry, dict) else None
            if type(id_) is not int or not _is_id(id_):
                skipped.entries += 1
                continue
            part = table.get(id_)
            if part is None:
                part = table[id_] = _Part(id_)
                held += 1
            held += _note(part, entry, skipped)
            if held > most and len(table) > 1:
                yield from _trees(_settled(table, id_, most // 2), file)
                held = sum(one.weight for one in table.values())
    except Exception:
        yield from _trees(table, file)
        raise
    yield from _trees(table, file)


def _is_id(value: int) -> bool:
    return 0 < value < _MOST_NS


def _note(part: _Part, entry: Mapping[str, Any], skipped: Skipped) -> int:
    """Add what an entry says; returns by how much the part has grown."""
    before = len(part.stamps) + len(part.tensors)
    said = False
    if "model_name" in entry:
        said = True
        part.model = _text(entry["model_name"])
        part.version = _text(entry.get("model_version", ""))
        part.request_id = _text(entry.get("request_id", ""))
        part.trace_id = _text(entry.get("trace_id", ""))
        parent = entry.get("parent_id")
        part.parent = parent if type(parent) is int and _is_id(parent) else 0
    stamps = entry.get("timestamps")
    if isinstance(stamps, list):
        said = True
        for one in stamps:
            _stamp(part, one, skipped)
    tensor = entry.get("tensor")
    if isinstance(tensor, dict):
        said = True
        if len(part.tensors) < MAX_TENSORS:
            part.tensors.append(_tensor(entry.get("activity", ""), tensor))
        else:
            part.left_out += 1
    if not said:
        skipped.entries += 1
    return len(part.stamps) + len(part.tensors) - before


def _stamp(part: _Part, stamp: object, skipped: Skipped) -> None:
    name, ns = (stamp.get("name"), stamp.get("ns")) if isinstance(stamp, dict) else (None, None)
    if not isinstance(name, str) or not name or type(ns) is not int or not 0 < ns < _MOST_NS:
        skipped.stamps += 1
    elif len(part.stamps) < MAX_STAMPS:
        part.stamps.append((intern(name[:MAX_TEXT]), ns))
    else:
        part.left_out += 1


def _tensor(activity: object, tensor: Mapping[str, Any]) -> NotedTensor:
    data = tensor.get("data", "")
    data = data if isinstance(data, str) else ""
    name, datatype, shape = (_text(tensor.get(key, "")) for key in ("name", "dtype", "shape"))
    return NotedTensor(_text(activity), name, datatype, shape, data[:MAX_DATA], max(len(data) - MAX_DATA, 0))


def _text(value: object) -> str:
    """A text of bounded length; "" of what is neither text nor number."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    return str(value) if type(value) is int and abs(value) < _MOST_NS else ""


def _settled(table: dict[int, _Part], current: int, most: int) -> dict[int, _Part]:
    """Take out of the table what is whole, it seems: clients' requests with all below them, but for the one that is
    being read. Where more than `most` is left, those that wait for the one they were made for go too.
    """
    children = _children(table)
    whole = [id_ for id_, part in table.items() if not part.parent and id_ != current]
    taken = {id_: table.pop(id_) for top in whole for id_ in _below(children, top)}
    if sum(one.weight for one in table.values()) > most:
        taken |= {id_: table.pop(id_) for id_ in list(table) if id_ != current}
    return taken


def _children(table: Mapping[int, _Part]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for id_, part in table.items():
        if part.parent:
            found.setdefault(part.parent, []).append(id_)
    return found


def _below(children: Mapping[int, list[int]], top: int) -> list[int]:
    """It and all below it, each once."""
    found, left = {top: None}, [top]
    while left:
        for child in children.get(left.pop(), ()):
            if child not in found:
                found[child] = None
                left.append(child)
    return list(found)


def _trees(table: Mapping[int, _Part], file: str) -> Iterator[TraceTree]:
    """A tree for each that has no parent here. Where parents go round in a circle, the first one there is begins."""
    children = _children(table)
    made: set[int] = set()
    tops = [id_ for id_, part in table.items() if part.parent not in table]
    for id_ in (*tops, *table):
        if id_ in made:
            continue
        problems = []
        parent = table[id_].parent
        if parent:
            circle = parent in table
            problems.append(
                f"the parents of request {id_} go round in a circle" if circle else f"its parent, {parent}, is not here"
            )
        yield TraceTree(tuple(_ordered(table, children, id_, made)), file, tuple(problems))


def _ordered(
    table: Mapping[int, _Part], children: Mapping[int, list[int]], top: int, made: set[int]
) -> Iterator[tuple[int, TracedRequest]]:
    """Depth and request, each behind the one that it was made for, in the order of their starts."""
    left = [(0, _request(table[top]))]
    made.add(top)
    while left:
        depth, request = left.pop()
        yield depth, request
        below = [id_ for id_ in children.get(request.id, ()) if id_ not in made]
        made.update(below)
        found = sorted((_request(table[id_]) for id_ in below), key=lambda one: (one.start_ns, one.id), reverse=True)
        left += [(depth + 1, one) for one in found]


def _request(part: _Part) -> TracedRequest:
    moments = moments_of(part.stamps)
    problems = list(moments.problems)
    if part.left_out:
        problems.append(f"{part.left_out} of its moments and tensors are left out")
    return TracedRequest(
        id=part.id,
        parent=part.parent,
        model=part.model,
        version=part.version,
        request_id=part.request_id,
        trace_id=part.trace_id,
        start_ns=moments.start_ns,
        end_ns=moments.end_ns,
        stages=moments.stages,
        spans=moments.spans,
        marks=moments.marks,
        tensors=tuple(part.tensors),
        problems=tuple(problems),
    )
