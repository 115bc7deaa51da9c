"""--metrics-config: what it takes, what it refuses and why, and what the page then has."""

import pytest

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.observability.metrics.rendering import render
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.statistics.model import ModelStatistics


def test_counters_of_durations_can_be_left_out() -> None:
    model = ModelStatistics("m", "1")
    whole = render([model])
    less = render([model], settings=MetricsSettings.from_texts(["counter_latencies=false"]))
    gone = {line.split()[2] for line in whole.splitlines() if line.startswith("# TYPE")}
    gone -= {line.split()[2] for line in less.splitlines() if line.startswith("# TYPE")}
    assert gone == {
        "nv_inference_request_duration_us",
        "nv_inference_queue_duration_us",
        "nv_inference_compute_input_duration_us",
        "nv_inference_compute_infer_duration_us",
        "nv_inference_compute_output_duration_us",
    }


def test_the_last_one_counts() -> None:
    assert MetricsSettings.from_texts(["counter_latencies=false", "counter_latencies=1"]).counter_latencies
    assert MetricsSettings.from_texts([]).counter_latencies


@pytest.mark.parametrize("text", ["", "=", "counter_latencies", "counter_latencies=", "=true"])
def test_the_form_is_told(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'<setting>=<value>'"):
        MetricsSettings.from_texts([text])


def test_an_unknown_setting_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no setting 'counter_latency'.*counter_latencies"):
        MetricsSettings.from_texts(["counter_latency=false"])


def test_a_value_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="true or false, not 'maybe'"):
        MetricsSettings.from_texts(["counter_latencies=maybe"])


@pytest.mark.parametrize("text", ["summary_latencies=true", "histogram_latencies=1", "summary_quantiles=0.5:0.05"])
def test_what_the_page_does_not_have_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(UnsupportedError, match="neither summaries nor histograms"):
        MetricsSettings.from_texts([text])


def test_switching_off_what_is_not_there_is_fine() -> None:
    assert MetricsSettings.from_texts(["summary_latencies=false"]) == MetricsSettings()
