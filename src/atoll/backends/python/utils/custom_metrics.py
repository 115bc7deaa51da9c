"""Metrics of a model's own, shown with the server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from atoll.backends.python.utils.arguments import mismatch
from atoll.backends.python.utils.current import current_host, refusals_of
from atoll.backends.python.utils.errors import TritonModelException
from atoll.backends.python.utils.finalizing import call_apart
from atoll.errors import InvalidArgumentError

if TYPE_CHECKING:
    from atoll.backends.python.host import ModelHost


class MetricKind(IntEnum):
    """What a family's metrics measure."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2

    def __repr__(self) -> str:
        return f"<MetricKind.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"MetricKind.{self.name}"


class MetricFamily:
    """A name, a description and a kind: what the metrics of a model share that differ in their labels.

    It is shown as long as one of its metrics or the family itself is held. Several families of one name and kind are
    one. Raises TypeError for arguments of other types, TritonModelException for a name that Prometheus does not allow
    or that another kind of family has.
    """

    COUNTER = MetricKind.COUNTER
    GAUGE = MetricKind.GAUGE
    HISTOGRAM = MetricKind.HISTOGRAM

    __slots__ = ("_host", "_kind", "_number")

    def __init__(self, name: str, description: str, kind: MetricKind):
        if not isinstance(name, str) or not isinstance(description, str) or not isinstance(kind, MetricKind):
            raise mismatch(
                "c_python_backend_utils.MetricFamily(name: str, description: str, "
                "kind: c_python_backend_utils.MetricKind)",
                (name, description, kind),
            )
        host = current_host()
        with refusals_of("Error when creating MetricFamily"):
            self._number = host.create_metric_family(name, description, kind.name.lower())
        self._kind = kind
        self._host = host  # the last: a family that was refused has none to drop

    def Metric(  # noqa: N802 - the real module's name
        self, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The metric with these labels. `buckets`, the upper bounds in rising order, are for histograms and only for
        them. Raises TritonModelException for labels that are no dict of strings and for wrong buckets.
        """
        if labels is not None and not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        if (buckets is not None) != (self._kind is MetricKind.HISTOGRAM):
            found = "Unexpected buckets found." if buckets is not None else "Missing required buckets."
            raise TritonModelException(f"Failed to create metric. {found}")
        if buckets is not None and not isinstance(buckets, list):
            raise TritonModelException("Failed to create metric. Buckets must be a list.")
        bounds = [_number(bound) for bound in buckets or ()]
        with refusals_of("Error when creating Metric"):
            if labels and any(not isinstance(value, str) for value in labels.values()):
                raise InvalidArgumentError("attempt to access JSON non-string as string")
            number = self._host.create_metric(self._number, labels or {}, bounds)
        return Metric(self, self._host, number)

    def __del__(self) -> None:
        if hasattr(self, "_host"):
            call_apart(self._host.drop_metric_family, self._number)


class Metric:
    """A metric of a family; `MetricFamily.Metric` makes it. Every one with the same labels has the same value."""

    __slots__ = ("_family", "_host", "_number")

    def __init__(self, family: MetricFamily, host: ModelHost, number: int):
        self._family = family  # held: it outlives its metrics
        self._host = host
        self._number = number

    def increment(self, value: float) -> None:
        """Add to a counter, what is not negative, or to a gauge. Raises TritonModelException for a histogram."""
        self._change("increment", value)

    def set(self, value: float) -> None:
        """Set a gauge. Raises TritonModelException for another kind."""
        self._change("set", value)

    def observe(self, value: float) -> None:
        """Put a value into a histogram. Raises TritonModelException for another kind."""
        self._change("observe", value)

    def value(self) -> float:
        """The value of a counter or gauge. Raises TritonModelException for a histogram."""
        with refusals_of("Failed to get metric value"):
            return self._host.metric_value(self._number)

    def _change(self, operation: str, value: float) -> None:
        if not hasattr(value, "__float__"):
            signature = "(self: c_python_backend_utils.Metric, arg0: float) -> None"
            raise mismatch(signature, (self, value), function=operation)
        with refusals_of(f"Failed to {operation} metric value"):
            self._host.change_metric(self._number, operation, float(value))

    def __del__(self) -> None:
        call_apart(self._host.drop_metric, self._number)


def _number(bound: object) -> float:
    try:
        return float(cast(float, bound))
    except (TypeError, ValueError):
        raise RuntimeError(f"a bucket's upper bound is a number, not {bound!r}") from None
