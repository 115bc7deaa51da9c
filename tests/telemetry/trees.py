"""Traces as trees: what must hold of every one, and a short form to compare with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tests.telemetry.receiver import Span

TREE = dict[str, Any]


def check(spans: Iterable[Span], client: str = "") -> Span:
    """That the spans of one trace are one tree, each within its parent's time; returns its root. `client`: the span of
    the client's own, if it has one.
    """
    spans = list(spans)
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans), "an id is there twice"
    assert all(len(span.id) == 16 and int(span.id, 16) for span in spans)
    assert len({span.trace for span in spans}) == 1
    [root] = [span for span in spans if span.parent not in by_id]
    assert root.parent == client
    for span in spans:
        assert span.start_ns <= span.end_ns
        for name, at, _ in span.events:
            assert span.start_ns <= at <= span.end_ns, (span.name, name)
        if span is not root:
            parent = by_id[span.parent]
            assert parent.start_ns <= span.start_ns, (span.name, "begins before", parent.name)
            assert span.end_ns <= parent.end_ns, (span.name, "ends after", parent.name)
    return root


def tree(spans: Sequence[Span], root: Span) -> TREE:
    """Names, by who is whose child; of equal ones, how many."""
    children = [span for span in spans if span.parent == root.id]
    names = Counter(span.name for span in children)
    found: TREE = {}
    for child in sorted(children, key=lambda span: span.start_ns):
        below = tree(spans, child)
        name = child.name if names[child.name] == 1 else f"{child.name} {len(found)}"
        found[name] = below
    return found


COMPUTED: TREE = {"queue": {}, "batch": {"compute": {}}}
