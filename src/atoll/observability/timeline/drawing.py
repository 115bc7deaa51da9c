"""A trace as lines of text: a header, the time axis, and a row for each stage, span and request, with its bar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from atoll.observability.timeline.requests import (
    INFER,
    OUTPUT,
    SEND,
    STAGES,
    Stage,
    TracedRequest,
    TraceTree,
    is_hidden,
)
from atoll.observability.timeline.text import duration, fitted, shown, width

NARROWEST: Final = 40
MAX_ROWS: Final = 1_000  # of one trace
_DEEPEST: Final = 12  # levels that are indented further than the one above
_DURATION: Final = 9  # columns of `-1.23 min`
_LABELS: Final = (18, 44)  # columns of the names, at least and at most
_MOST_MARKS: Final = 16  # of one request
_LAST: Final = (OUTPUT, SEND)  # what follows an execution

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_STAGE_COLOURS: Final = dict(zip(STAGES, (2, 36, 33, 34, 32, 34, 36), strict=True))
_COLOURS: Final = {"request": 1, "span": 35, "mark": 35, **_STAGE_COLOURS}


@dataclass(frozen=True, slots=True)
class Style:
    """How a terminal, or what stands in for it, wants lines: `columns` wide, with colours, with more than ASCII, with
    tensors.
    """

    columns: int = 100
    colours: bool = False
    ascii_only: bool = False
    tensors: bool = False

    @property
    def ellipsis(self) -> str:
        """What stands for what was cut off."""
        return "..." if self.ascii_only else "…"


@dataclass(frozen=True, slots=True)
class _Row:
    """`pieces`: where the bar is, in nanoseconds. `kind`: "request", "mark", "span" or a stage's name; "" of a text."""

    depth: int
    label: str
    kind: str = ""
    pieces: tuple[tuple[int, int], ...] = ()
    duration_ns: int | None = None


def draw(trace: TraceTree, style: Style) -> list[str]:
    """The lines of a trace, none wider than the style says, without anything that a file could do to a terminal."""
    root = trace.root
    start = min(one.start_ns for _, one in trace.requests)
    end = max(one.end_ns for _, one in trace.requests)
    if start == 0:
        stamped = [one for _, one in trace.requests if one.start_ns]
        start, end = (min(one.start_ns for one in stamped), max(one.end_ns for one in stamped)) if stamped else (0, 0)
    rows, left_out = _bounded(_rows(trace, style))
    lines = [_header(trace, end - start, style)]
    if root.start_ns or end:
        plan = _Plan(start, end, _label_columns(rows, style), style)
        lines += [plan.axis(), *(plan.line(row) for row in rows)]
    else:
        lines += [_cut(_indent(row.depth) + row.label, style) for row in rows if not row.kind]
        lines.append(_cut("  no moments are noted of it", style))
    if left_out:
        lines.append(_cut(f"  {left_out} more rows are left out; --json has them all", style))
    problems = [*trace.problems, *(f"request {one.id}: {text}" for _, one in trace.requests for text in one.problems)]
    lines += [_cut(f"  note: {shown(text, ascii_only=style.ascii_only)}", style) for text in problems[:_MOST_MARKS]]
    return [line.rstrip() for line in lines]


def title(request: TracedRequest, style: Style) -> str:
    """Which model, and what is known of the request, in a few words."""
    if not request.model:
        return "no model"
    name = shown(request.model, ascii_only=style.ascii_only)
    return f"{name} version {shown(request.version, ascii_only=style.ascii_only)}" if request.version else name


def _header(trace: TraceTree, total_ns: int, style: Style) -> str:
    root = trace.root
    parts = [f"trace {root.id}", title(root, style)]
    if root.request_id:
        parts.append(f"request id {shown(root.request_id, ascii_only=style.ascii_only)}")
    made = len(trace.requests) - 1
    if made:
        parts.append(f"{made} request{'s' if made > 1 else ''} made for it")
    if root.trace_id:
        parts.append(f"trace id {shown(root.trace_id, ascii_only=style.ascii_only)}")
    separator = ", " if style.ascii_only else " · "
    text = separator.join(parts)
    total = duration(total_ns)
    room = style.columns - len(total) - 1
    return _painted(f"{fitted(text, room, ellipsis=style.ellipsis)} {total}", _BOLD, style)


def _rows(trace: TraceTree, style: Style) -> Iterator[_Row]:
    """What was made for a request stands between its execution and what it did with the answer."""
    open_: list[tuple[int, TracedRequest]] = []
    for depth, request in trace.requests:
        while open_ and open_[-1][0] >= depth:
            yield from _last_rows(*open_.pop(), style)
        if depth:
            label = f"{title(request, style)} (trace {request.id})"
            yield _Row(depth, label, "request", ((request.start_ns, request.end_ns),), request.duration_ns)
        yield from _first_rows(depth, request, style)
        open_.append((depth, request))
    while open_:
        yield from _last_rows(*open_.pop(), style)


def _first_rows(depth: int, request: TracedRequest, style: Style) -> Iterator[_Row]:
    """What happened up to the end of its execution."""
    inside = depth + 1
    for one in request.stages:
        if one.name not in _LAST:
            yield _Row(depth + 1, one.name, one.name, ((one.start_ns, one.end_ns),), one.duration_ns)
            inside = depth + 2 if one.name == INFER else inside
    yield from _spans(request.spans, inside, style)


def _last_rows(depth: int, request: TracedRequest, style: Style) -> Iterator[_Row]:
    for name in _LAST:
        found = [one for one in request.stages if one.name == name]
        if found:
            label = name if len(found) == 1 else f"{name}, {len(found)} times"
            pieces = tuple((one.start_ns, one.end_ns) for one in found)
            yield _Row(depth + 1, label, name, pieces, sum(one.duration_ns for one in found))
    for mark in [one for one in request.marks if not is_hidden(one)][:_MOST_MARKS]:
        yield _Row(depth + 1, shown(mark.name, ascii_only=style.ascii_only), "mark", ((mark.ns, mark.ns),))
    if style.tensors:
        yield from _tensors(request, depth + 1, style)


def _spans(spans: Sequence[Stage], depth: int, style: Style) -> Iterator[_Row]:
    """Those within others are indented further: a file says of spans when they were, not whose part they are."""
    around: list[int] = []
    for one in spans:
        while around and around[-1] < max(one.end_ns, one.start_ns):
            around.pop()
        label = shown(one.name, ascii_only=style.ascii_only)
        yield _Row(depth + len(around), label, "span", ((one.start_ns, one.end_ns),), one.duration_ns)
        around.append(one.end_ns)


def _tensors(request: TracedRequest, depth: int, style: Style) -> Iterator[_Row]:
    for one in request.tensors:
        way = {"TENSOR_QUEUE_INPUT": "input", "TENSOR_BACKEND_OUTPUT": "output"}.get(one.activity, one.activity.lower())
        more = f" and {one.left_out} characters more" if one.left_out else ""
        text = f"{way} {one.name} {one.datatype} [{one.shape}] = {one.data}{more}"
        yield _Row(depth, shown(text, ascii_only=style.ascii_only))


def _bounded(rows: Iterator[_Row]) -> tuple[list[_Row], int]:
    kept: list[_Row] = []
    left_out = 0
    for row in rows:
        if len(kept) < MAX_ROWS:
            kept.append(row)
        else:
            left_out += 1
    return kept, left_out


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _label_columns(rows: Sequence[_Row], style: Style) -> int:
    widest = max((width(_indent(row.depth) + row.label) for row in rows if row.kind), default=0)
    return min(max(widest, _LABELS[0]), _LABELS[1], max(style.columns // 3, _LABELS[0]))


class _Plan:
    """Which column of a line stands for which moment."""

    def __init__(self, start: int, end: int, label: int, style: Style):
        self._start, self._end = start, end
        self._span = max(end - start, 1)
        self._label = label
        self._style = style
        self._columns = max(style.columns - label - _DURATION - 2, 8)

    def axis(self) -> str:
        """Moments since the start, as far as there is room for them."""
        cells = [" "] * self._columns
        taken = -1
        ticks = 0 if self._end == self._start else 4 if self._columns >= 56 else 2 if self._columns >= 28 else 1
        for tick in range(ticks + 1):
            text = duration(self._span * tick // ticks) if tick else "0"
            at = min((self._columns - 1) * tick // max(ticks, 1), self._columns - len(text))
            if at > taken:
                cells[at : at + len(text)] = text
                taken = at + len(text)
        line = " " * (self._label + 1) + "".join(cells).rstrip()
        return _painted(line, _DIM, self._style)

    def line(self, row: _Row) -> str:
        """A row in full."""
        style = self._style
        text = _indent(row.depth) + row.label
        if not row.kind:
            return _cut(text, style)
        label = fitted(text, self._label, ellipsis=style.ellipsis)
        bar = self._bar(row)
        took = "" if row.duration_ns is None else duration(row.duration_ns)
        if style.colours:
            bar = _painted(bar, f"\x1b[{_COLOURS[row.kind]}m", style)
            label = _painted(label, _BOLD, style) if row.kind == "request" else label
        return f"{label} {bar} {took:>{_DURATION}}"

    def _bar(self, row: _Row) -> str:
        cells = [" "] * self._columns
        full, thin = ("#", "|") if self._style.ascii_only else ("█", "▏")
        if row.kind == "request":
            full = "=" if self._style.ascii_only else "━"
        for start, end in row.pieces:
            first = self._column(start)
            last = max(first, self._column(end - 1))
            short = first == last and (end - start) * self._columns < self._span // 2
            if not short:
                cells[first : last + 1] = full * (last + 1 - first)
            elif cells[first] == " ":
                cells[first] = thin
        if row.pieces and row.pieces[0][0] < self._start:
            cells[0] = "<"  # it began before what the client waited for
        if row.kind == "mark":
            cells[self._column(row.pieces[0][0])] = "*" if self._style.ascii_only else "◆"
        return "".join(cells)

    def _column(self, ns: int) -> int:
        at = (ns - self._start) * self._columns // self._span
        return min(max(at, 0), self._columns - 1)


def _painted(text: str, colour: str, style: Style) -> str:
    return f"{colour}{text}{_RESET}" if style.colours else text


def _cut(text: str, style: Style) -> str:
    return fitted(text, style.columns, ellipsis=style.ellipsis).rstrip()
