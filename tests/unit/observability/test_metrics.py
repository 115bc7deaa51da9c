"""The metrics page, read by Prometheus's own parser, and the CPU's numbers, from a /proc of files."""

from prometheus_client.parser import text_string_to_metric_families

from atoll.observability.metrics import CpuMeter, CpuReading, render
from atoll.observability.statistics import Duration, ModelStatistics


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
