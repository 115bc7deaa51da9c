"""Metrics that models define themselves: families of counters, gauges and histograms, and their place on the page.

Rules and error texts are the real server's. Two things differ on purpose: what a model defined leaves the page when the
model does, and a name that the server itself uses is refused, as the page could not be read with both.
"""

import math
import re
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from atoll.errors import AlreadyExistsError, InvalidArgumentError, UnavailableError, UnsupportedError
from atoll.observability.metrics import text_format
from atoll.observability.metrics.names import SERVER_FAMILIES
from atoll.observability.metrics.pace import Pace, hurry
from atoll.observability.metrics.text_format import EVERYTHING, SUFFIXES, braces, header

KINDS = ("counter", "gauge", "histogram")
MAX_FAMILIES = 1_000  # of a server; each is a few lines of the page that somebody reads every few seconds
MAX_METRICS = 10_000  # of a family: more are labels that take a new value with each request
MAX_HANDLES = 100_000  # numbers that are in use at once, of metrics
MAX_LABELS = 64
MAX_BUCKETS = 1_000
_TOGETHER = 50  # metrics whose values are copied at once
MAX_TEXT = 4_096  # characters of a name, a description, a label's value

_FAMILY_NAME = re.compile(r"(?!__)[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATIONS = {
    "counter": {"increment", "value"},
    "gauge": {"increment", "set", "value"},
    "histogram": {"observe"},
}

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class _Series:
    """What one set of labels has counted. `makers` are the families' numbers under which somebody asked for it."""

    labels: Labels
    bounds: tuple[float, ...] = ()
    value: float = 0.0  # of a histogram: the sum of what was observed
    counts: list[int] = field(default_factory=list)  # of a histogram: in each bucket alone, the one without bound last
    makers: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Family:
    name: str
    description: str
    kind: str
    series: dict[Labels, _Series] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Handle:
    """A family in the hand of an owner."""

    owner: object
    family: _Family


class CustomMetrics:
    """Every family and metric of a server's models, each known by a number. Thread-safe.

    A family of the same name and kind is the same family for all who ask, and so are its metrics of the same labels. A
    metric keeps its value until everybody who asked for it has dropped the family: code that makes a metric, counts
    once and forgets the object loses nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._names: dict[str, _Family] = {}
        self._families: dict[int, _Handle] = {}
        self._metrics: dict[int, tuple[int, _Series]] = {}  # number of the family, series
        self._dropped: deque[int] = deque()  # numbers that are not used any more, and still known

    # ---- read

    def readings(self, family_name: str) -> list[tuple[Mapping[str, str], float]]:
        """The labels and the value of each metric of a family; none where nobody has made it."""
        with self._lock:
            family = self._names.get(family_name)
            return [] if family is None else [(dict(one.labels), one.value) for one in family.series.values()]

    # ---- make

    def create_family(self, owner: object, name: str, description: str, kind: str) -> int:
        """A family, or another number for one that there is; the first description stays.

        Raises InvalidArgumentError for a name that Prometheus could not read, AlreadyExistsError for one of another
        kind or of the server's own metrics, UnavailableError where there are too many.
        """
        if kind not in KINDS:
            raise InvalidArgumentError(f"metrics are of the kinds {', '.join(KINDS)}, and not '{kind}'")
        if not _FAMILY_NAME.fullmatch(name):
            raise InvalidArgumentError("Invalid metric name")
        _bound(MAX_TEXT, name=name, description=description)
        with self._lock:
            self._forget_dropped()
            family = self._names.get(name)
            if family is None:
                self._demand_free(name, kind)
                if len(self._names) >= MAX_FAMILIES:
                    raise UnavailableError(f"the models of this server have defined {MAX_FAMILIES} families of metrics")
                family = self._names[name] = _Family(name, description, kind)
            elif family.kind != kind:
                raise AlreadyExistsError("Family name already exists with different type")
            if len(self._families) >= MAX_HANDLES:
                raise UnavailableError(f"{MAX_HANDLES} families of metrics are in use")
            number = self._next()
            family.numbers.add(number)
            self._families[number] = _Handle(owner, family)
            return number

    def _demand_free(self, name: str, kind: str) -> None:
        """A name is not that of another's lines, its own lines not those of another's."""
        lines = {name, *(name + suffix for suffix in SUFFIXES.get(kind, ()))}
        taken = {one for one in lines if one in self._names or one in SERVER_FAMILIES}
        for suffix in SUFFIXES["histogram"]:
            other = self._names.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if other is not None and other.kind == "histogram":
                taken.add(name)
        if taken:
            raise AlreadyExistsError(
                f"Family name already exists: '{min(taken)}' is a name that this server or another model writes already"
            )

    def create_metric(
        self, owner: object, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()
    ) -> int:
        """A metric, or another number for the one with these labels. `buckets`: of a histogram, the upper bounds of its
        buckets, ascending; those of the first who asks stay.

        Raises InvalidArgumentError for labels that Prometheus could not read or buckets out of order, NotFoundError for
        a family that was dropped, UnavailableError where there are too many.
        """
        bounds = tuple(float(one) for one in buckets)
        with self._lock:
            self._forget_dropped()
            handle = self._families.get(family)
            if handle is None or handle.owner is not owner:
                raise _deleted()
            kind = handle.family.kind
            key = _key(labels, kind)
            _check_buckets(kind, bounds)
            series = handle.family.series.get(key)
            if series is None:
                if len(handle.family.series) >= MAX_METRICS:
                    raise UnavailableError(
                        f"metric family '{handle.family.name}' has {MAX_METRICS} metrics already: give labels only "
                        "values of which there are few"
                    )
                bounds = bounds[:-1] if bounds[-1:] == (math.inf,) else bounds  # the last bucket has no bound anyway
                series = handle.family.series[key] = _Series(key, bounds)
                series.counts = [0] * (len(bounds) + 1) if kind == "histogram" else []
            if len(self._metrics) >= MAX_HANDLES:
                raise UnavailableError(f"{MAX_HANDLES} metrics are in use: keep a metric, and do not make it anew")
            series.makers.add(family)
            number = self._next()
            self._metrics[number] = family, series
            return number

    def _next(self) -> int:
        self._last += 1
        return self._last

    # ---- count

    def change(self, metric: int, operation: str, value: float) -> None:
        """ "increment", "set" or "observe". Raises UnsupportedError where the metric's kind has none, and
        InvalidArgumentError for a counter that is to fall, or a metric whose family is gone.
        """
        value = float(value)
        with self._lock:
            series, kind = self._find(metric, operation)
            if kind == "histogram":
                at = len(series.bounds) if math.isnan(value) else bisect_left(series.bounds, value)
                series.counts[at] += 1
                series.value += value
            elif operation == "set":
                series.value = value
            elif kind == "counter" and value < 0:
                raise InvalidArgumentError(
                    "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by non-negative values."
                )
            else:
                series.value += value

    def value(self, metric: int) -> float:
        """Of a counter or gauge. Raises UnsupportedError for a histogram."""
        with self._lock:
            return self._find(metric, "value")[0].value

    def _find(self, metric: int, operation: str) -> tuple[_Series, str]:
        number, series = self._metrics.get(metric, (0, None))
        handle = self._families.get(number)
        if series is None or handle is None:
            raise _deleted()
        kind = handle.family.kind
        if operation not in _OPERATIONS[kind]:
            raise UnsupportedError(f"TRITONSERVER_METRIC_KIND_{kind.upper()} does not support {operation.capitalize()}")
        return series, kind

    # ---- drop

    def drop_metric(self, metric: int) -> None:
        """This number is not used any more. Never raises."""
        with self._lock:
            self._metrics.pop(metric, None)

    def drop_family(self, family: int) -> None:
        """Nor is this one. Metrics of it that nobody else asked for are gone. Never raises."""
        with self._lock:
            self._drop_families({family})

    def drop_soon(self, number: int) -> None:
        """A family or a metric of this number is not used any more. For finalizers: they may run anywhere, even within
        another call of this object, and take no lock.
        """
        self._dropped.append(number)

    def _forget_dropped(self) -> None:
        while self._dropped:
            number = self._dropped.popleft()
            self._metrics.pop(number, None)
            self._drop_families({number})

    def drop_owner(self, owner: object) -> None:
        """Nothing of this owner's is used any more. Never raises."""
        with self._lock:
            self._drop_families({number for number, handle in self._families.items() if handle.owner is owner})

    def _drop_families(self, numbers: set[int]) -> None:
        for number in numbers:
            handle = self._families.pop(number, None)
            if handle is None:
                continue
            family = handle.family
            family.numbers.discard(number)
            for key, series in list(family.series.items()):
                series.makers.discard(number)
                if not series.makers:
                    del family.series[key]
            if not family.numbers:
                del self._names[family.name]
        for metric in [metric for metric, (number, _) in self._metrics.items() if number in numbers]:
            del self._metrics[metric]

    # ---- show

    def render(self) -> str:
        """The families that have metrics, by name, in the Prometheus text format, version 0.0.4; "" where there are
        none."""
        return "".join(self.texts(hurry))

    def texts(self, pace: Pace) -> Iterator[str]:
        """The same in pieces. Models that count do not wait for whoever reads."""
        with self._lock:
            self._forget_dropped()
            families = [(one, list(one.series.values())) for _, one in sorted(self._names.items()) if one.series]
        for family, series in families:
            yield header(family.name, family.description, family.kind)
            series.sort(key=lambda one: one.labels)
            for start in range(0, len(series), _TOGETHER):
                pace()
                some = series[start : start + _TOGETHER]
                with self._lock:
                    values = [(one.value, tuple(one.counts)) for one in some]
                found = zip(some, values, strict=True)
                yield "".join([_lines(family, one, value, counts) for one, (value, counts) in found])


def _lines(family: _Family, series: _Series, value: float, counts: Sequence[int]) -> str:
    name, labels = family.name, braces(series.labels)
    if family.kind != "histogram":
        return f"{name}{labels} {text_format.number(value)}\n"
    totals = list(accumulate(counts))
    buckets = [
        f"{name}_bucket{braces((*series.labels, ('le', bound)))} {total}\n"
        for bound, total in zip([*map(text_format.number, series.bounds), EVERYTHING], totals, strict=True)
    ]
    return f"{''.join(buckets)}{name}_sum{labels} {text_format.number(value)}\n{name}_count{labels} {totals[-1]}\n"


def _key(labels: Mapping[str, str], kind: str) -> Labels:
    for name, value in labels.items():
        # a histogram's lines have a label of this name already
        if not _LABEL_NAME.fullmatch(name) or (name == "le" and kind == "histogram"):
            raise InvalidArgumentError("Invalid label name")
        if not isinstance(value, str):
            raise InvalidArgumentError("attempt to access JSON non-string as string")
        _bound(MAX_TEXT, name=name, label=value)
    if len(labels) > MAX_LABELS:
        raise InvalidArgumentError(f"a metric has at most {MAX_LABELS} labels, and not {len(labels)}")
    return tuple(sorted(labels.items()))


def _check_buckets(kind: str, bounds: tuple[float, ...]) -> None:
    if bounds and kind != "histogram":
        raise InvalidArgumentError("Failed to create metric. Unexpected buckets found.")
    if len(bounds) > MAX_BUCKETS:
        raise InvalidArgumentError(f"a histogram has at most {MAX_BUCKETS} buckets, and not {len(bounds)}")
    if not all(low < high for low, high in pairwise(bounds)) or any(map(math.isnan, bounds)):
        raise InvalidArgumentError("Bucket Boundaries must be strictly sorted")


def _bound(most: int, **texts: str) -> None:
    for what, text in texts.items():
        if len(text) > most:
            raise InvalidArgumentError(f"the {what} of a metric has at most {most} characters, and not {len(text)}")


def _deleted() -> InvalidArgumentError:
    return InvalidArgumentError(
        "Invalid metric operation as the corresponding 'MetricFamily' has been deleted. The 'MetricFamily' object "
        "should be deleted AFTER its corresponding 'Metric' objects have been deleted."
    )
