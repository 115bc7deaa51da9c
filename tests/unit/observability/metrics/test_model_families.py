"""What stands on the page of each model version, read by Prometheus's own parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.observability.metrics.reading import Counted, model_lines, samples, text_of

from atoll.errors import ConfigError, InvalidArgumentError
from atoll.observability.metrics.labels import metric_labels
from atoll.observability.metrics.model_texts import ModelTexts
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings
from atoll.observability.statistics.distribution import NS_BOUNDS, Distribution
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.measures import DEFAULT_BUCKETS, REQUEST, Measures
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest

LABELS = (("model", "simple"), ("version", "3"))
ALL = MetricsSettings(histogram_latencies=True, summary_latencies=True)
TAGS = st.dictionaries(st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z_]{0,9}\Z"), st.text(), max_size=5)


def asked(name: str) -> InferenceRequest:
    return InferenceRequest(name, {}, None)  # type: ignore[arg-type]


def test_each_counter_has_tritons_name_labels_and_unit() -> None:
    model = ModelStatistics(
        "simple",
        "3",
        inference_count=11,
        execution_count=7,
        success=Duration(5, 5_000),
        queue=Duration(5, 6_999),
        compute_input=Duration(5, 7_000),
        compute_infer=Duration(5, 8_000),
        compute_output=Duration(5, 9_000),
        failures={"BACKEND": 2},
        pending_request_count=4,
    )
    found = samples(model_lines(model))
    expected = {
        "request_success": 5,
        "count": 11,
        "exec_count": 7,
        "request_duration_us": 5,
        "queue_duration_us": 6,
        "compute_input_duration_us": 7,
        "compute_infer_duration_us": 8,
        "compute_output_duration_us": 9,
        "pending_request_count": 4,
    }
    assert {name: found[f"nv_inference_{name}", LABELS] for name in expected} == expected
    for reason, value in {"REJECTED": 0, "CANCELED": 0, "BACKEND": 2, "OTHER": 0}.items():
        key = (("model", "simple"), ("reason", reason), ("version", "3"))
        assert found["nv_inference_request_failure", key] == value


def test_lines_are_spelled_as_the_real_server_does() -> None:
    text = model_lines(ModelStatistics("m", "1"))
    assert text.startswith(
        "# HELP nv_inference_request_success Number of successful inference requests, all batch sizes\n"
        "# TYPE nv_inference_request_success counter\n"
        'nv_inference_request_success{model="m",version="1"} 0\n'
    )
    assert 'nv_inference_request_failure{model="m",reason="OTHER",version="1"} 0\n' in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert text.endswith("\n")


def test_without_models_there_are_no_families_of_models() -> None:
    assert model_lines() == ""


@settings(max_examples=30)
@given(tags=TAGS, name=st.text(max_size=9))
def test_no_name_and_no_value_of_a_tag_breaks_the_page(tags: dict[str, str], name: str) -> None:
    recorder = StatisticsRecorder(name, "1", metric_labels(tags), cached=True, measures=Measures(DEFAULT_BUCKETS, True))
    recorder.record_refusal(asked(name), InvalidArgumentError("no"))
    text = text_of(ModelTexts(ALL), Counted(recorder=recorder))
    expected = {"model": name, "version": "1"} | {f"_{key}": value for key, value in tags.items()}
    expected = {key: value.encode("utf-8", "replace").decode() for key, value in expected.items()}
    own = {"reason", "le", "quantile"}
    for _, labels in samples(text):
        assert {key: value for key, value in labels if key not in own} == expected


def test_tags_and_namespace_are_labels_in_the_real_servers_order() -> None:
    labels = metric_labels({"zone": 'q"uote\\back%d', "a": "1", "B": "", "": "2"}, "/models/a")
    text = model_lines(ModelStatistics("tags", "1", labels=labels))
    shown = '_="2",_B="",_a="1",_zone="q\\"uote\\\\back%d",model="tags",namespace="/models/a"'
    assert f'nv_inference_request_success{{{shown},version="1"}} 0\n' in text
    assert f'nv_inference_request_failure{{{shown},reason="REJECTED",version="1"}} 0\n' in text
    assert f'nv_inference_pending_request_count{{{shown},version="1"}} 0\n' in text
    assert f'atoll_inference_batch_size_bucket{{{shown},version="1",le="1"}} 0\n' in text


def test_a_tag_cannot_pass_for_one_of_the_servers_labels() -> None:
    labels = metric_labels({"model": "2", "version": "9", "reason": "r", "namespace": "n"})
    found = samples(model_lines(ModelStatistics("m", "1", labels=labels, failures={"BACKEND": 4})))
    tags = (("_model", "2"), ("_namespace", "n"), ("_reason", "r"), ("_version", "9"))
    assert found["nv_inference_request_failure", (*tags, ("model", "m"), ("reason", "BACKEND"), ("version", "1"))] == 4


@pytest.mark.parametrize("key", ["a b", "_x", "__x", 'a"', "a\n", "é", "a-b", "a{}"])
def test_a_name_that_prometheus_cannot_read_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a tag"):
        metric_labels({key: "v"})


def test_how_long_loading_took_is_shown_where_it_is_known() -> None:
    recorder = StatisticsRecorder("m", "1", {"_a": "1"})
    assert "nv_model_load_duration_secs" not in model_lines(recorder.snapshot())
    recorder.record_load(2_500_000_000)
    found = samples(model_lines(recorder.snapshot(), ModelStatistics("other", "1")))
    assert {key: value for key, value in found.items() if key[0] == "nv_model_load_duration_secs"} == {
        ("nv_model_load_duration_secs", (("_a", "1"), ("model", "m"), ("version", "1"))): 2.5
    }


def test_refusals_are_told_by_their_reason() -> None:
    model = ModelStatistics("m", "1", refusals={"UNAVAILABLE": 3, "INVALID_ARGUMENT": 1})
    lines = [one for one in model_lines(model).splitlines() if one.startswith("atoll_inference_request_refused")]
    assert lines == [
        'atoll_inference_request_refused_count{model="m",reason="INVALID_ARGUMENT",version="1"} 1',
        'atoll_inference_request_refused_count{model="m",reason="UNAVAILABLE",version="1"} 3',
    ]


def distribution(*values: int, bounds: tuple[int, ...] = NS_BOUNDS) -> Distribution:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[next((at for at, bound in enumerate(bounds) if value <= bound), len(bounds))] += 1
    return Distribution(bounds, tuple(counts), sum(values))


def test_durations_are_in_seconds_in_the_usual_buckets() -> None:
    values = (100_000, 100_001, 1_000_000_000, 60_000_000_000, 200_000_000_000)
    found = samples(model_lines(ModelStatistics("m", "1", request_durations=distribution(*values))))
    labels = ("model", "m"), ("version", "1")
    steps = {dict(key)["le"]: value for (name, key), value in found.items() if name == f"{REQUEST}_bucket"}
    shown = "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 25 +Inf"
    assert " ".join(steps) == shown
    assert (steps["0.0001"], steps["0.00025"], steps["1"], steps["25"], steps["+Inf"]) == (1, 2, 3, 3, 5)
    assert found[f"{REQUEST}_sum", labels] == pytest.approx(261.000200001)
    assert found[f"{REQUEST}_count", labels] == 5


def test_batch_sizes_are_counted_by_execution() -> None:
    batches = tuple(
        BatchStatistics(size, Duration(times), Duration(times), Duration(times))
        for size, times in ((1, 5), (3, 2), (300, 1))
    )
    found = samples(model_lines(ModelStatistics("m", "1", batch_stats=batches)))
    name, labels = "atoll_inference_batch_size", (("model", "m"), ("version", "1"))
    steps = {dict(key)["le"]: value for (one, key), value in found.items() if one == f"{name}_bucket"}
    assert steps == {"1": 5, "2": 5, "4": 7, "8": 7, "16": 7, "32": 7, "64": 7, "128": 7, "256": 7, "+Inf": 8}
    assert (found[f"{name}_sum", labels], found[f"{name}_count", labels]) == (5 + 6 + 300, 8)


def test_first_responses_are_in_milliseconds_and_of_decoupled_models_alone() -> None:
    decoupled = ModelStatistics("d", "1", first_responses=distribution(120_000_000, 6_000_000_000))
    text = model_lines(decoupled, ModelStatistics("m", "1"), settings=ALL)
    lines = [one for one in text.splitlines() if one.startswith("nv_inference_first_response_histogram_ms")]
    assert lines == [
        'nv_inference_first_response_histogram_ms_bucket{model="d",version="1",le="100"} 0',
        'nv_inference_first_response_histogram_ms_bucket{model="d",version="1",le="500"} 1',
        'nv_inference_first_response_histogram_ms_bucket{model="d",version="1",le="2000"} 1',
        'nv_inference_first_response_histogram_ms_bucket{model="d",version="1",le="5000"} 1',
        'nv_inference_first_response_histogram_ms_bucket{model="d",version="1",le="+Inf"} 2',
        'nv_inference_first_response_histogram_ms_sum{model="d",version="1"} 6120.0',
        'nv_inference_first_response_histogram_ms_count{model="d",version="1"} 2',
    ]
    assert "first_response" not in model_lines(decoupled)


def test_summaries_have_the_quantiles_that_are_wanted() -> None:
    recorder = StatisticsRecorder("m", "1", cached=True, measures=Measures(DEFAULT_BUCKETS, summaries=True))
    recorder.record_cache_miss(40_000)
    settings = MetricsSettings(summary_latencies=True, summary_quantiles=((0.5, 0.05), (1.0, 0.01)))
    text = model_lines(recorder.snapshot(), settings=settings)
    lines = [one for one in text.splitlines() if one.startswith("nv_cache_miss_summary")]
    assert lines[:2] == [
        'nv_cache_miss_summary_per_model_count{model="m",version="1"} 1',
        'nv_cache_miss_summary_per_model_sum{model="m",version="1"} 40',
    ]
    found = samples(text)
    labels = ("model", "m"), ("quantile", "1"), ("version", "1")
    assert found["nv_cache_miss_summary_per_model", labels] == pytest.approx(40, rel=0.15)
    empty = [value for (name, key), value in found.items() if "_hit_summary" in name and "quantile" in dict(key)]
    assert len(empty) == 2
    assert all(value != value for value in empty)  # NaN: there was none
    assert "summary" not in model_lines(recorder.snapshot())
    assert "nv_cache_miss_summary" not in model_lines(StatisticsRecorder("n", "1").snapshot(), settings=settings)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**12), max_size=30), st.lists(st.integers(1, 10**12), min_size=1, max_size=9))
def test_every_value_is_in_the_buckets_that_hold_it(values: list[int], chosen: list[int]) -> None:
    buckets = tuple(sorted(set(chosen)))
    measures = Measures({**DEFAULT_BUCKETS, REQUEST: buckets})
    bounds = tuple(sorted({*NS_BOUNDS, *buckets}))
    model = ModelStatistics("m", "1", measures=measures, request_durations=distribution(*values, bounds=bounds))
    found = samples(model_lines(model))
    steps = [value for (name, _), value in found.items() if name == f"{REQUEST}_bucket"]
    assert steps == [*(sum(value <= bound for value in values) for bound in buckets), len(values)]


def test_what_was_written_is_kept_until_something_is_recorded() -> None:
    texts = ModelTexts(DEFAULTS)
    busy, resting = Counted(recorder=StatisticsRecorder("b", "1")), Counted(recorder=StatisticsRecorder("r", "1"))
    first = text_of(texts, busy, resting)
    assert text_of(texts, busy, resting) == first
    assert (busy.asked, resting.asked) == (1, 1)
    busy.recorder.record_failure(asked("b"), 1, "BACKEND")
    changed = text_of(texts, busy, resting)
    assert 'nv_inference_request_failure{model="b",reason="BACKEND",version="1"} 1\n' in changed
    assert (busy.asked, resting.asked) == (2, 1)
    again = Counted(recorder=StatisticsRecorder("b", "1"))  # loaded anew: another that counts from nothing
    assert text_of(texts, again, resting) == first


def test_gauges_of_the_moment_are_never_old() -> None:
    texts = ModelTexts(DEFAULTS)
    model = Counted(ModelStatistics("m", "1", pending_request_count=1, in_flight_request_count=2))
    text_of(texts, model)
    model.given = ModelStatistics("m", "1", pending_request_count=3, in_flight_request_count=4)
    found = samples(text_of(texts, model))
    labels = ("model", "m"), ("version", "1")
    assert found["nv_inference_pending_request_count", labels] == 3
    assert found["atoll_inference_in_flight_request_count", labels] == 4


def test_many_models_stand_under_one_header() -> None:
    models = [ModelStatistics(f"m{number}", "1", success=Duration(number)) for number in range(60)]
    found = samples(model_lines(*models))
    shown = [value for (name, _), value in found.items() if name == "nv_inference_request_success"]
    assert shown == list(range(60))


def test_other_threads_are_let_in_between_short_pieces_of_work() -> None:
    calls = 0

    def pace() -> None:
        nonlocal calls
        calls += 1

    models = [Counted(recorder=StatisticsRecorder(f"m{number}", "1")) for number in range(10)]
    texts = ModelTexts(DEFAULTS)
    list(texts.parts(models, pace))
    assert calls >= len(models) * 15
