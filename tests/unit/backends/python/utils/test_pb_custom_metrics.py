"""MetricFamily and Metric."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.backends.python.utils.model_host import AnsweringHost

from atoll.backends.python.utils import MetricFamily, MetricKind, TritonModelException
from atoll.backends.python.utils.current import use_host
from atoll.errors import InvalidArgumentError


@pytest.fixture
def host() -> Iterator[AnsweringHost]:
    host = AnsweringHost()
    with use_host(host, "/models/m/1", "m_0_0"):
        yield host


def test_metrics_are_made_and_changed_at_the_server(host: AnsweringHost) -> None:
    family = MetricFamily("requests", "How many", MetricFamily.COUNTER)
    metric = family.Metric(labels={"model": "m"})
    metric.increment(2)
    assert metric.value() == 2.5
    metric.set(1)
    metric.observe(0.5)
    assert host.said == [
        ("create_metric_family", "requests", "How many", "counter"),
        ("create_metric", 7, {"model": "m"}, []),
        ("change_metric", 70, "increment", 2.0),
        ("metric_value", 70),
        ("change_metric", 70, "set", 1.0),
        ("change_metric", 70, "observe", 0.5),
    ]


def test_a_histogram_has_buckets_and_nothing_else_has(host: AnsweringHost) -> None:
    histogram = MetricFamily("h", "", kind=MetricFamily.HISTOGRAM)
    metric = histogram.Metric(labels={"a": "b"}, buckets=[1, 2.5])
    assert host.said[-1] == ("create_metric", 7, {"a": "b"}, [1.0, 2.5])
    empty = histogram.Metric(buckets=[])
    assert host.said[-1] == ("create_metric", 7, {}, [])
    for family, buckets, text in [
        (histogram, None, "Failed to create metric. Missing required buckets."),
        (histogram, (1, 2), "Failed to create metric. Buckets must be a list."),
        (MetricFamily("g", "", MetricKind.GAUGE), [1], "Failed to create metric. Unexpected buckets found."),
    ]:
        with pytest.raises(TritonModelException) as raised:
            family.Metric(buckets=buckets)
        assert str(raised.value) == text
    assert metric is not empty


def test_label_values_are_strings_and_bounds_numbers(host: AnsweringHost) -> None:
    wrong: dict[str, Any] = {"a": 1}
    with pytest.raises(TritonModelException, match="message: attempt to access JSON non-string as string"):
        MetricFamily("f", "", MetricFamily.GAUGE).Metric(labels=wrong)
    bounds: list[Any] = ["x"]
    with pytest.raises(RuntimeError, match="a bucket's upper bound is a number, not 'x'"):
        MetricFamily("h", "", MetricFamily.HISTOGRAM).Metric(buckets=bounds)
    assert all(said[0] != "create_metric" for said in host.said)


@pytest.mark.parametrize("labels", [[1], "x", 5])
def test_labels_are_a_dict(host: AnsweringHost, labels: Any) -> None:
    with pytest.raises(TritonModelException, match=r"^Failed to create metric\. Labels must be a dictionary\.$"):
        MetricFamily("f", "", MetricFamily.GAUGE).Metric(labels=labels)


@pytest.mark.parametrize(
    "arguments", [("f", "d", 0), ("f", "d", "COUNTER"), (5, "d", MetricKind.COUNTER), ("f", 5, MetricKind.GAUGE)]
)
def test_other_arguments_are_type_errors(host: AnsweringHost, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        MetricFamily(*arguments)
    assert not host.said


@pytest.mark.parametrize("function", ["increment", "set", "observe"])
def test_values_are_numbers(host: AnsweringHost, function: str) -> None:
    metric = MetricFamily("f", "", MetricFamily.GAUGE).Metric()
    with pytest.raises(TypeError, match=rf"^{function}\(\): incompatible function arguments"):
        getattr(metric, function)("x")


def test_refusals_are_said_as_the_real_module_does(host: AnsweringHost) -> None:
    family = MetricFamily("f", "", MetricFamily.COUNTER)
    metric = family.Metric()
    host.refusal = InvalidArgumentError("why")
    tried = [
        (lambda: MetricFamily("g", "", MetricFamily.COUNTER), "Error when creating MetricFamily"),
        (family.Metric, "Error when creating Metric"),
        (lambda: metric.increment(-1), "Failed to increment metric value"),
        (lambda: metric.set(1), "Failed to set metric value"),
        (lambda: metric.observe(1), "Failed to observe metric value"),
        (metric.value, "Failed to get metric value"),
    ]
    for call, said in tried:
        with pytest.raises(TritonModelException) as raised:
            call()
        assert str(raised.value) == f"{said}: Failed to process the request for model 'm_0_0', message: why"
    host.refusal = None


def test_what_the_model_lets_go_of_is_dropped_and_a_metric_holds_its_family(host: AnsweringHost) -> None:
    family = MetricFamily("f", "", MetricFamily.COUNTER)
    metric = family.Metric()
    del family
    gc.collect()
    with host.heard:
        assert not host.heard.wait_for(lambda: ("drop_metric_family", 7) in host.said, 0.05)
    del metric
    gc.collect()
    with host.heard:
        assert host.heard.wait_for(lambda: {("drop_metric", 70), ("drop_metric_family", 7)} <= set(host.said[2:]), 10)
