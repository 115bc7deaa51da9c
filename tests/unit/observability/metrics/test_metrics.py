"""The metrics page, read by Prometheus's own parser, and the CPU's numbers, from a /proc of files."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from atoll.devices.cpu_meter import CpuMeter, CpuReading
from atoll.errors import ConfigError
from atoll.observability.metrics.rendering import metric_labels, render
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import ModelStatistics, StatisticsRecorder


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_counter_has_tritons_name_labels_and_unit():
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
    found = samples(render([model], CpuReading(0.25, 1000, 300)))
    labels = (("model", "simple"), ("version", "3"))
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
    for name, value in expected.items():
        names = [f"nv_inference_{name}", f"nv_inference_{name}_total"]
        assert value in [found.get((one, *labels)) for one in names], name
    for reason, value in {"REJECTED": 0, "CANCELED": 0, "BACKEND": 2, "OTHER": 0}.items():
        key = (("model", "simple"), ("reason", reason), ("version", "3"))
        names = ["nv_inference_request_failure", "nv_inference_request_failure_total"]
        assert value in [found.get((one, *key)) for one in names]
    assert found[("nv_cpu_utilization",)] == 0.25
    assert found[("nv_cpu_memory_total_bytes",)] == 1000
    assert found[("nv_cpu_memory_used_bytes",)] == 300


def test_lines_are_spelled_as_the_real_server_does():
    text = render([ModelStatistics("m", "1")])
    assert text.startswith(
        "# HELP nv_inference_request_success Number of successful inference requests, all batch sizes\n"
        "# TYPE nv_inference_request_success counter\n"
        'nv_inference_request_success{model="m",version="1"} 0\n'
    )
    assert 'nv_inference_request_failure{model="m",reason="OTHER",version="1"} 0\n' in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "nv_cpu" not in text
    assert text.endswith("\n")


def test_names_are_escaped():
    names = {dict(key[1:]).get("model") for key in samples(render([ModelStatistics('a"b\\c\nd', "1")]))}
    assert names == {'a"b\\c\nd'}


def test_cpu_use_is_that_of_the_last_interval(tmp_path):
    def ticks(busy, idle):
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n")

    now = 0.0
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n")
    ticks(100, 100)
    meter = CpuMeter(2.0, tmp_path, lambda: now)
    ticks(130, 110)
    assert meter.read() == CpuReading(0.0, 1_024_000, 614_400)  # the interval is not over
    now = 2.0
    assert meter.read() == CpuReading(0.75, 1_024_000, 614_400)
    ticks(130, 210)
    now = 3.0
    assert meter.read() == CpuReading(0.75, 1_024_000, 614_400)
    now = 4.0
    assert meter.read() == CpuReading(0.0, 1_024_000, 614_400)


def test_a_system_without_proc(tmp_path):
    assert CpuMeter(2.0, tmp_path / "nothing").read() is None


def test_tags_and_namespace_are_labels_in_the_real_servers_order():
    labels = metric_labels({"zone": 'q"uote\\back', "a": "1", "B": "", "": "2"}, "/models/a")
    text = render([ModelStatistics("tags", "1", labels=labels)])
    shown = '_="2",_B="",_a="1",_zone="q\\"uote\\\\back",model="tags",namespace="/models/a"'
    assert f'nv_inference_request_success{{{shown},version="1"}} 0\n' in text
    assert f'nv_inference_request_failure{{{shown},reason="REJECTED",version="1"}} 0\n' in text
    assert f'nv_inference_pending_request_count{{{shown},version="1"}} 0\n' in text


def test_a_tag_cannot_pass_for_one_of_the_servers_labels():
    labels = metric_labels({"model": "2", "version": "9", "reason": "r", "namespace": "n"})
    found = samples(render([ModelStatistics("m", "1", labels=labels, failures={"BACKEND": 4})]))
    tags = (("_model", "2"), ("_namespace", "n"), ("_reason", "r"), ("_version", "9"))
    key = ("nv_inference_request_failure_total", *tags, ("model", "m"), ("reason", "BACKEND"), ("version", "1"))
    assert found[key] == 4


@given(st.dictionaries(st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z_]{0,9}\Z"), st.text(), max_size=5), st.text(max_size=9))
def test_no_value_of_a_tag_breaks_the_page(tags, name):
    text = render([ModelStatistics(name, "1", labels=metric_labels(tags))])
    assert text == text.encode().decode()
    (found,) = (key for key in samples(text) if key[0] == "nv_inference_pending_request_count")
    expected = {"model": name, "version": "1"} | {f"_{key}": value for key, value in tags.items()}
    assert dict(found[1:]) == {key: value.encode("utf-8", "replace").decode() for key, value in expected.items()}


@pytest.mark.parametrize("key", ["a b", "_x", "__x", 'a"', "a\n", "é", "a-b", "a{}"])
def test_a_name_that_prometheus_cannot_read_is_refused(key):
    with pytest.raises(ConfigError, match="cannot be the name of a tag"):
        metric_labels({key: "v"})


def test_the_pools_gauges_stand_between_the_models_and_the_cpu():
    @dataclass
    class Pool:
        total_bytes: int = 1000
        used_bytes: int = 64

    text = render([ModelStatistics("m", "1")], CpuReading(0.25, 1000, 300), Pool())
    assert (
        'nv_inference_pending_request_count{model="m",version="1"} 0\n'
        "# HELP nv_pinned_memory_pool_total_bytes Pinned memory pool total memory size, in bytes\n"
        "# TYPE nv_pinned_memory_pool_total_bytes gauge\n"
        "nv_pinned_memory_pool_total_bytes 1000\n"
        "# HELP nv_pinned_memory_pool_used_bytes Pinned memory pool used memory size, in bytes\n"
        "# TYPE nv_pinned_memory_pool_used_bytes gauge\n"
        "nv_pinned_memory_pool_used_bytes 64\n"
        "# HELP nv_cpu_utilization "
    ) in text
    assert "nv_pinned" not in render([ModelStatistics("m", "1")])


def test_how_long_loading_took_is_shown_where_it_is_known():
    recorder = StatisticsRecorder("m", "1", {"_a": "1"})
    assert "nv_model_load_duration_secs" not in render([recorder.snapshot()])
    recorder.record_load(2_500_000_000)
    found = samples(render([recorder.snapshot(), ModelStatistics("other", "1")]))
    assert {key: value for key, value in found.items() if key[0] == "nv_model_load_duration_secs"} == {
        ("nv_model_load_duration_secs", ("_a", "1"), ("model", "m"), ("version", "1")): 2.5
    }
