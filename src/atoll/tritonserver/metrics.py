"""Metrics of a program's own, beside the server's and its models'. They are the process's: every server shows them."""

import weakref
from typing import Final

from atoll.errors import AlreadyExistsError, InvalidArgumentError
from atoll.observability.metrics.custom import CustomMetrics
from atoll.tritonserver.enums import MetricKind
from atoll.tritonserver.unpicklable import Unpicklable

PROCESS_METRICS: Final = CustomMetrics()
"""Also of the models of every server that this API makes: a name means one thing."""

_OWNER: Final = object()


class MetricFamily(Unpicklable):
    """A name with a description. It leaves the page when neither it nor one of its metrics is held any more.

    Raises InvalidArgumentError for a name that Prometheus could not read, or that another kind has.
    """

    def __init__(self, kind: MetricKind, name: str, description: str):
        if not isinstance(kind, MetricKind):
            raise InvalidArgumentError(f"kind is {kind!r}, and must be a MetricKind")
        try:
            self.number = PROCESS_METRICS.create_family(_OWNER, name, description, kind.name.lower())
        except AlreadyExistsError as error:
            raise InvalidArgumentError(str(error)) from None
        self.kind = kind
        weakref.finalize(self, PROCESS_METRICS.drop_soon, self.number).atexit = False

    def create_metric(self, labels: dict[str, str] | None = None) -> "Metric":
        """The metric with these labels; the same one for all who ask."""
        return Metric(self, labels)


class Metric(Unpicklable):
    """One number, or of a HISTOGRAM a distribution. Thread-safe."""

    def __init__(self, family: MetricFamily, labels: dict[str, str] | None = None, buckets: list[float] | None = None):
        self._family = family
        self._number = PROCESS_METRICS.create_metric(_OWNER, family.number, labels or {}, buckets or ())
        weakref.finalize(self, PROCESS_METRICS.drop_soon, self._number).atexit = False

    @property
    def kind(self) -> MetricKind:
        """Its family's."""
        return self._family.kind

    @property
    def value(self) -> float:
        """Of a COUNTER or GAUGE. Raises UnsupportedError for a HISTOGRAM."""
        return PROCESS_METRICS.value(self._number)

    def increment(self, value: float) -> None:
        """Raises InvalidArgumentError for a COUNTER that is to fall, UnsupportedError for a HISTOGRAM."""
        PROCESS_METRICS.change(self._number, "increment", value)

    def set_value(self, value: float) -> None:
        """Of a GAUGE. Raises UnsupportedError for other kinds."""
        PROCESS_METRICS.change(self._number, "set", value)

    def observe(self, value: float) -> None:
        """Of a HISTOGRAM. Raises UnsupportedError for other kinds."""
        PROCESS_METRICS.change(self._number, "observe", value)
