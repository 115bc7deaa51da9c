"""What models count themselves: rules of names, kinds and values, who shares what, and the page that comes of it."""

import math
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AlreadyExistsError, InvalidArgumentError, UnavailableError, UnsupportedError
from atoll.observability.metrics import custom as custom_metrics
from atoll.observability.metrics.custom import CustomMetrics
from atoll.observability.metrics.names import SERVER_FAMILIES

ME, OTHER = object(), object()


@pytest.fixture
def metrics() -> CustomMetrics:
    return CustomMetrics()


def test_the_page_has_every_kind(metrics: CustomMetrics) -> None:
    counter = metrics.create_family(ME, "requests", 'how "many"\nand \\ more', "counter")
    metrics.change(metrics.create_metric(ME, counter, {"b": 'a"\\\n', "a": "1"}), "increment", 2)
    gauge = metrics.create_family(ME, "depth", "", "gauge")
    for label, value in (("x", -1.5), ("inf", -math.inf), ("nan", math.nan), ("big", 1e300), ("million", 1234567.0)):
        metrics.change(metrics.create_metric(ME, gauge, {"l": label}), "set", value)
    histogram = metrics.create_family(ME, "sizes", "h", "histogram")
    metric = metrics.create_metric(ME, histogram, {}, [0.1, 1, 10])
    for value in (0.1, 0.05, 1, 3, 100, -1):
        metrics.change(metric, "observe", value)
    assert metrics.render() == (
        "# TYPE depth gauge\n"
        'depth{l="big"} 1e+300\ndepth{l="inf"} -Inf\ndepth{l="million"} 1234567\n'
        'depth{l="nan"} NaN\ndepth{l="x"} -1.5\n'
        '# HELP requests how "many"\\nand \\\\ more\n# TYPE requests counter\n'
        'requests{a="1",b="a\\"\\\\\\n"} 2\n'
        "# HELP sizes h\n# TYPE sizes histogram\n"
        'sizes_bucket{le="0.1"} 3\nsizes_bucket{le="1"} 4\nsizes_bucket{le="10"} 5\nsizes_bucket{le="+Inf"} 6\n'
        "sizes_sum 103.15\nsizes_count 6\n"
    )


def test_a_family_without_metrics_is_not_on_the_page(metrics: CustomMetrics) -> None:
    metrics.create_family(ME, "nothing", "", "gauge")
    assert metrics.render() == ""


@pytest.mark.parametrize("name", ["", "1abc", "a b", "a-b", "__x", "ü", "x\n", "x" * 5000])
def test_names_that_prometheus_could_not_read(metrics: CustomMetrics, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Invalid metric name|at most 4096 characters"):
        metrics.create_family(ME, name, "", "counter")


@pytest.mark.parametrize("name", ["a:b", "_x", "x" * 300])
def test_names_that_it_can(metrics: CustomMetrics, name: str) -> None:
    metrics.create_metric(ME, metrics.create_family(ME, name, "", "counter"), {})
    assert f"{name} 0\n" in metrics.render()


@pytest.mark.parametrize("name", ["1a", "", "a b", "__x", "ü", "a\n"])
def test_labels_that_prometheus_could_not_read(metrics: CustomMetrics, name: str) -> None:
    family = metrics.create_family(ME, "f", "", "counter")
    with pytest.raises(InvalidArgumentError, match="Invalid label name"):
        metrics.create_metric(ME, family, {name: "x"})


def test_a_label_that_is_no_text(metrics: CustomMetrics) -> None:
    family = metrics.create_family(ME, "f", "", "counter")
    with pytest.raises(InvalidArgumentError, match="attempt to access JSON non-string as string"):
        metrics.create_metric(ME, family, {"a": 1})  # type: ignore[dict-item]


def test_the_label_of_buckets_is_taken_in_histograms_alone(metrics: CustomMetrics) -> None:
    histogram = metrics.create_family(ME, "h", "", "histogram")
    with pytest.raises(InvalidArgumentError, match="Invalid label name"):
        metrics.create_metric(ME, histogram, {"le": "1"}, [1])
    metrics.create_metric(ME, metrics.create_family(ME, "g", "", "gauge"), {"le": "1"})


@pytest.mark.parametrize(
    ("kind", "buckets", "text"),
    [
        ("histogram", [2, 1], "Bucket Boundaries must be strictly sorted"),
        ("histogram", [1, 1], "Bucket Boundaries must be strictly sorted"),
        ("histogram", [math.nan], "Bucket Boundaries must be strictly sorted"),
        ("histogram", range(1001), "at most 1000 buckets"),
        ("counter", [1], "Failed to create metric. Unexpected buckets found."),
        ("gauge", [1], "Failed to create metric. Unexpected buckets found."),
    ],
)
def test_wrong_buckets(metrics: CustomMetrics, kind: str, buckets: list[float], text: str) -> None:
    family = metrics.create_family(ME, "f", "", kind)
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        metrics.create_metric(ME, family, {}, buckets)
    assert metrics.render() == ""


def test_an_infinite_bound_is_the_last_bucket(metrics: CustomMetrics) -> None:
    family = metrics.create_family(ME, "f", "", "histogram")
    metrics.change(metrics.create_metric(ME, family, {}, [1, math.inf]), "observe", 2)
    assert metrics.render().count('le="+Inf"') == 1


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("counter", "set"),
        ("counter", "observe"),
        ("gauge", "observe"),
        ("histogram", "set"),
        ("histogram", "increment"),
    ],
)
def test_what_a_kind_does_not_do(metrics: CustomMetrics, kind: str, operation: str) -> None:
    metric = metrics.create_metric(ME, metrics.create_family(ME, "f", "", kind), {})
    text = f"TRITONSERVER_METRIC_KIND_{kind.upper()} does not support {operation.capitalize()}"
    with pytest.raises(UnsupportedError, match=text):
        metrics.change(metric, operation, 1)


def test_a_histogram_has_no_value(metrics: CustomMetrics) -> None:
    metric = metrics.create_metric(ME, metrics.create_family(ME, "f", "", "histogram"), {})
    with pytest.raises(UnsupportedError, match="TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Value"):
        metrics.value(metric)


def test_counters_do_not_fall_and_gauges_do(metrics: CustomMetrics) -> None:
    counter = metrics.create_metric(ME, metrics.create_family(ME, "c", "", "counter"), {})
    gauge = metrics.create_metric(ME, metrics.create_family(ME, "g", "", "gauge"), {})
    metrics.change(counter, "increment", 1.5)
    with pytest.raises(InvalidArgumentError, match="can only be incremented monotonically by non-negative values"):
        metrics.change(counter, "increment", -1)
    metrics.change(gauge, "increment", -1)
    assert (metrics.value(counter), metrics.value(gauge)) == (1.5, -1)


def test_one_name_is_one_family_of_one_kind_for_all(metrics: CustomMetrics) -> None:
    mine = metrics.create_family(ME, "f", "mine", "counter")
    theirs = metrics.create_family(OTHER, "f", "theirs", "counter")
    metrics.change(metrics.create_metric(ME, mine, {"a": "1"}), "increment", 1)
    metric = metrics.create_metric(OTHER, theirs, {"a": "1"})
    metrics.change(metric, "increment", 2)
    assert metrics.value(metric) == 3
    assert "# HELP f mine\n" in metrics.render()
    with pytest.raises(AlreadyExistsError, match="Family name already exists with different type"):
        metrics.create_family(OTHER, "f", "", "gauge")


@pytest.mark.parametrize("name", sorted(SERVER_FAMILIES))
def test_the_servers_own_names_are_taken(metrics: CustomMetrics, name: str) -> None:
    with pytest.raises(AlreadyExistsError, match="Family name already exists"):
        metrics.create_family(ME, name, "", "counter")


@pytest.mark.parametrize(("first", "second"), [("h", "h_count"), ("h_sum", "h"), ("h", "h_bucket")])
def test_lines_of_a_histogram_are_nobody_elses(metrics: CustomMetrics, first: str, second: str) -> None:
    metrics.create_family(ME, first, "", "histogram" if first == "h" else "gauge")
    with pytest.raises(AlreadyExistsError, match="Family name already exists"):
        metrics.create_family(ME, second, "", "histogram" if second == "h" else "gauge")


def test_a_metric_that_is_forgotten_keeps_its_value_while_its_family_lives(metrics: CustomMetrics) -> None:
    family = metrics.create_family(ME, "f", "", "counter")
    for _ in range(3):
        metric = metrics.create_metric(ME, family, {"a": "1"})
        metrics.change(metric, "increment", 1)
        metrics.drop_metric(metric)
    assert 'f{a="1"} 3\n' in metrics.render()
    metrics.drop_family(family)
    assert metrics.render() == ""


def test_metrics_of_a_dropped_family_say_so(metrics: CustomMetrics) -> None:
    family = metrics.create_family(ME, "f", "", "counter")
    metric = metrics.create_metric(ME, family, {})
    metrics.drop_family(family)
    for use in (
        lambda: metrics.change(metric, "increment", 1),
        lambda: metrics.value(metric),
        lambda: metrics.create_metric(ME, family, {}),
    ):
        with pytest.raises(InvalidArgumentError, match="the corresponding 'MetricFamily' has been deleted"):
            use()
    metrics.create_family(ME, "f", "", "gauge")  # the name is free again


def test_what_an_owner_defined_goes_with_it_and_nothing_else(metrics: CustomMetrics) -> None:
    shared = metrics.create_family(ME, "f", "", "counter")
    theirs = metrics.create_family(OTHER, "f", "", "counter")
    metrics.create_metric(ME, shared, {"a": "mine"})
    metrics.create_metric(ME, shared, {"a": "both"})
    metrics.change(metrics.create_metric(OTHER, theirs, {"a": "both"}), "increment", 1)
    metrics.create_metric(ME, metrics.create_family(ME, "only_mine", "", "gauge"), {})
    metrics.drop_owner(ME)
    assert metrics.render() == '# TYPE f counter\nf{a="both"} 1\n'
    metrics.drop_owner(ME)
    metrics.drop_family(shared)
    metrics.drop_metric(12345)
    metrics.drop_owner(OTHER)
    assert metrics.render() == ""


def test_another_owners_number_is_no_family_of_mine(metrics: CustomMetrics) -> None:
    with pytest.raises(InvalidArgumentError):
        metrics.create_metric(OTHER, metrics.create_family(ME, "f", "", "counter"), {})


def test_labels_that_never_repeat_end_in_an_error(metrics: CustomMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_metrics, "MAX_METRICS", 3)
    family = metrics.create_family(ME, "f", "", "counter")
    for number in range(3):
        metrics.create_metric(ME, family, {"request": str(number)})
    with pytest.raises(UnavailableError, match="give labels only values of which there are few"):
        metrics.create_metric(ME, family, {"request": "3"})
    metrics.create_metric(ME, family, {"request": "1"})


def test_numbers_and_families_are_bounded(metrics: CustomMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_metrics, "MAX_HANDLES", 3)
    monkeypatch.setattr(custom_metrics, "MAX_FAMILIES", 2)
    families = [metrics.create_family(ME, name, "", "counter") for name in ("a", "b")]
    with pytest.raises(UnavailableError):
        metrics.create_family(ME, "c", "", "counter")
    metrics.create_family(ME, "a", "", "counter")
    with pytest.raises(UnavailableError):
        metrics.create_family(ME, "a", "", "counter")
    for _ in range(3):
        metrics.create_metric(ME, families[0], {})
    with pytest.raises(UnavailableError):
        metrics.create_metric(ME, families[0], {})


def test_threads_lose_no_increment(metrics: CustomMetrics) -> None:
    metric = metrics.create_metric(ME, metrics.create_family(ME, "f", "", "counter"), {})

    def count() -> None:
        for _ in range(1000):
            metrics.change(metric, "increment", 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value(metric) == 4000


LINE = re.compile(r'(#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z]+="([^"\\\n]|\\[\\"n])*",?)*\})? \S+)')


@given(description=st.text(), label=st.text(), value=st.floats())
def test_no_text_breaks_the_page(description: str, label: str, value: float) -> None:
    metrics = CustomMetrics()
    metric = metrics.create_metric(ME, metrics.create_family(ME, "f", description, "gauge"), {"a": label})
    metrics.change(metric, "set", value)
    page = metrics.render()
    page.encode()
    assert all(LINE.fullmatch(line) for line in page.split("\n")[:-1])
