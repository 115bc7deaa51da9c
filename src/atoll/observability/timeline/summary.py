"""How long requests of each model and version were in each stage: counts, means and percentiles, in bounded memory."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, exp, log1p
from typing import Final

from atoll.observability.timeline.requests import (
    STAGES,
    TracedRequest,
    TraceTree,
    stage_totals,
)

MAX_EXACT: Final = 10_000  # durations of one stage that are kept one by one
MAX_MODELS: Final = 1_000
MAX_SPANS: Final = 32  # names of a model's own spans
REQUEST: Final = "request"
"""A request in its model, from REQUEST_START to its end; of a client's, with receiving and sending."""
QUANTILES: Final = (0.5, 0.95, 0.99)
_STEP: Final = 0.01  # how far apart two durations are that count as the same, of their size


class Durations:
    """Of one stage, in nanoseconds. Percentiles are those of the nearest rank: exact up to MAX_EXACT durations, beyond
    that within one percent.
    """

    __slots__ = ("_buckets", "_exact", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._exact: array[float] | None = array("d")
        self._buckets: dict[int, int] = {}

    def add(self, ns: int) -> None:
        """One more; what is below 0 counts as 0."""
        ns = max(ns, 0)
        self.count += 1
        self.total += ns
        if self._exact is None:
            self._drop(ns)
            return
        self._exact.append(ns)
        if len(self._exact) > MAX_EXACT:
            exact, self._exact = self._exact, None
            for one in exact:
                self._drop(one)

    def _drop(self, ns: float) -> None:
        bucket = round(log1p(ns) / _STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    @property
    def mean(self) -> int:
        """0 where there are none."""
        return self.total // self.count if self.count else 0

    def quantile(self, part: float) -> int:
        """What `part` of them do not exceed, 0 to 1; 0 where there are none."""
        rank = max(ceil(part * self.count), 1)
        if self._exact is not None:
            return int(sorted(self._exact)[rank - 1]) if self._exact else 0
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return round(exp(bucket * _STEP)) - 1
        return 0


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """`stages`: by name, in the order in which a request passes them, the whole request first, own spans last."""

    model: str
    version: str
    stages: Mapping[str, Durations]


class Summary:
    """Of all traces that were added."""

    def __init__(self) -> None:
        self.traces = 0
        self.left_out = 0  # requests of models beyond MAX_MODELS
        self._models: dict[tuple[str, str], dict[str, Durations]] = {}

    def add(self, trace: TraceTree) -> None:
        """Count it, and all that was made for it."""
        self.traces += 1
        for _, request in trace.requests:
            self._add(request)

    def _add(self, request: TracedRequest) -> None:
        if not request.start_ns:
            return
        key = (request.model, request.version)
        stages = self._models.get(key)
        if stages is None:
            if len(self._models) >= MAX_MODELS:
                self.left_out += 1
                return
            stages = self._models[key] = {}
        for name, ns in ((REQUEST, request.duration_ns), *stage_totals(request).items()):
            durations = stages.get(name)
            if durations is None:
                if len(stages) > len(STAGES) + MAX_SPANS:
                    continue
                durations = stages[name] = Durations()
            durations.add(ns)

    def models(self) -> list[ModelSummary]:
        """By name and version."""
        return [
            ModelSummary(model, version, {name: stages[name] for name in _ordered(stages)})
            for (model, version), stages in sorted(
                self._models.items(), key=lambda one: (one[0][0], _number(one[0][1]))
            )
        ]


def _ordered(names: Iterable[str]) -> list[str]:
    known = (REQUEST, *STAGES)
    found = set(names)
    return [name for name in known if name in found] + sorted(found.difference(known))


def _number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isascii() and version.isdigit() and len(version) < 20 else (0, version)
