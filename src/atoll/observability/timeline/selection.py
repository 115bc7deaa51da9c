"""Which traces of a file are shown: those that are asked for, the slowest ones, or the first ones."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from atoll.observability.timeline.requests import TraceTree


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trace is wanted where all that is given is true of it, or of a request that was made for it. `limit` 0: all of
    them.
    """

    models: frozenset[str] = frozenset()
    ids: frozenset[int] = frozenset()
    request_ids: frozenset[str] = frozenset()
    slowest: int = 0
    limit: int = 0

    def __call__(self, trace: TraceTree) -> bool:
        """Whether this one is."""
        requests = [one for _, one in trace.requests]
        return (
            (not self.models or any(one.model in self.models for one in requests))
            and (not self.ids or any(one.id in self.ids for one in requests))
            and (not self.request_ids or any(one.request_id in self.request_ids for one in requests))
        )


@dataclass(slots=True)
class Counts:
    """`read`: whole traces. `matched`: those that were wanted. `shown`: those that are given out."""

    read: int = 0
    matched: int = 0
    shown: int = 0


def selected(traces: Iterable[TraceTree], wanted: Wanted, counts: Counts) -> Iterator[TraceTree]:
    """The slowest ones first, where those are asked for; otherwise as they come. All are read, and counted."""
    if wanted.slowest:
        yield from _slowest(traces, wanted, counts)
        return
    for trace in _matching(traces, wanted, counts):
        if not wanted.limit or counts.shown < wanted.limit:
            counts.shown += 1
            yield trace


def _matching(traces: Iterable[TraceTree], wanted: Callable[[TraceTree], bool], counts: Counts) -> Iterator[TraceTree]:
    for trace in traces:
        counts.read += 1
        if wanted(trace):
            counts.matched += 1
            yield trace


def _slowest(traces: Iterable[TraceTree], wanted: Wanted, counts: Counts) -> Iterator[TraceTree]:
    heap: list[tuple[int, int, TraceTree]] = []  # of equal ones the first is kept: no two counts are the same
    for trace in _matching(traces, wanted, counts):
        entry = (trace.root.duration_ns, -counts.matched, trace)
        if len(heap) < wanted.slowest:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    counts.shown = len(heap)
    yield from (trace for _, _, trace in sorted(heap, key=lambda one: one[:2], reverse=True))
