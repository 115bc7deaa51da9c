"""--metrics-config: what it takes, what it refuses and why, and what the page then has."""

import pytest
from tests.unit.observability.metrics.reading import model_lines

from atoll.errors import InvalidArgumentError
from atoll.observability.metrics.settings import DEFAULT_QUANTILES, MetricsSettings
from atoll.observability.statistics.model import ModelStatistics


def test_counters_of_durations_can_be_left_out() -> None:
    model = ModelStatistics("m", "1", cached=True)
    whole = model_lines(model)
    less = model_lines(model, settings=MetricsSettings.from_texts(["counter_latencies=false"]))
    gone = {line.split()[2] for line in whole.splitlines() if line.startswith("# TYPE")}
    gone -= {line.split()[2] for line in less.splitlines() if line.startswith("# TYPE")}
    assert gone == {
        "nv_inference_request_duration_us",
        "nv_inference_queue_duration_us",
        "nv_inference_compute_input_duration_us",
        "nv_inference_compute_infer_duration_us",
        "nv_inference_compute_output_duration_us",
        "nv_cache_num_hits_per_model",
        "nv_cache_hit_duration_per_model",
        "nv_cache_num_misses_per_model",
        "nv_cache_miss_duration_per_model",
    }


def test_the_last_one_counts() -> None:
    assert MetricsSettings.from_texts(["counter_latencies=false", "counter_latencies=1"]).counter_latencies
    assert MetricsSettings.from_texts([]) == MetricsSettings()


def test_all_settings() -> None:
    texts = ["summary_latencies=true", "histogram_latencies=True", "summary_quantiles=0.99:0.001, 0.5:0.05"]
    assert MetricsSettings.from_texts(texts) == MetricsSettings(
        summary_latencies=True, histogram_latencies=True, summary_quantiles=((0.5, 0.05), (0.99, 0.001))
    )
    assert [quantile for quantile, _ in DEFAULT_QUANTILES] == [0.5, 0.9, 0.95, 0.99, 0.999]


@pytest.mark.parametrize("text", ["", "=", "counter_latencies", "counter_latencies=", "=true"])
def test_the_form_is_told_in_the_real_servers_words(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        MetricsSettings.from_texts([text])
    assert str(caught.value) == f"--metrics-config option format is <setting>=<value>. Got {text}"


def test_an_unknown_setting_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no setting 'counter_latency'.*counter_latencies"):
        MetricsSettings.from_texts(["counter_latency=false"])


@pytest.mark.parametrize("key", ["counter_latencies", "summary_latencies", "histogram_latencies"])
def test_a_value_that_is_no_boolean_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{key} is true or false, not 'maybe'"):
        MetricsSettings.from_texts([f"{key}=maybe"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("abc", r"Invalid option: \[abc\]. No ':' delimiter found. Expected format is <quantile>:<error>"),
        ("0.5:0.05,0.9", r"Invalid option: \[0.9\]. No ':'"),
        ("0.5:x", r"Invalid option: \[0.5:x\]. Both must be numbers"),
        ("0.5:0.05:1", "Both must be numbers"),
        ("1.5:0.1", "from 0 to 1"),
        ("nan:0.1", "from 0 to 1"),
        ("0.5:-1", "not negative"),
        ("0.5:inf", "not negative"),
        (",", "has 0 quantiles"),
        (",".join(f"0.{number:03}:0.1" for number in range(51)), "has 51 quantiles"),
    ],
)
def test_quantiles_that_are_none_are_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        MetricsSettings.from_texts([f"summary_quantiles={text}"])
