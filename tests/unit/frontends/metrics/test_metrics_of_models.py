"""The page of a real server: buckets that a model's configuration sets, what was counted, settings, models that come
and go.
"""

from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from tests.unit.models.tiny import write_model
from tests.unit.observability.metrics.reading import samples

from atoll.errors import AtollError, ConfigError, InvalidArgumentError
from atoll.frontends.metrics.page import MetricsPage
from atoll.listener import listen
from atoll.observability.metrics.settings import MetricsSettings
from atoll.server import Server
from atoll.tritonserver.options import Options, engine_options

NAME = "atoll_inference_request_duration_seconds"


def double(x: Any) -> dict[str, Any]:
    if (x < 0).any():
        raise InvalidArgumentError("negative")
    return {"OUT": x * 2}


def served(server: Server, name: str = "double", **config: Any) -> None:
    inputs, outputs = {"x": ("FP32", [2])}, {"OUT": ("FP32", [2])}
    server.add_model(name, double, inputs=inputs, outputs=outputs, config=config)


def ask(server: Server, name: str = "double", value: float = 1.0) -> None:
    server.infer(name, {"x": np.full(2, value, np.float32)})


def control(family: str, *buckets: float) -> dict[str, Any]:
    return {
        "metric_control": [{"metric_identifier": {"family": family}, "histogram_options": {"buckets": list(buckets)}}]
    }


def steps(text: str, name: str, model: str) -> dict[str, float]:
    return {
        dict(labels)["le"]: value
        for (one, labels), value in samples(text).items()
        if one == f"{name}_bucket" and dict(labels)["model"] == model
    }


def test_buckets_are_those_of_the_models_configuration() -> None:
    with Server() as server:
        page = MetricsPage(server)
        served(server, model_metrics=control(NAME, 0.000001, 0.3, 60))
        served(server, "usual")
        ask(server)
        ask(server, "usual")
        text = page.text()
    assert steps(text, NAME, "double") == {"1e-06": 0, "0.3": 1, "60": 1, "+Inf": 1}
    assert len(steps(text, NAME, "usual")) == 18
    assert len(steps(text, "atoll_inference_queue_duration_seconds", "double")) == 18


@pytest.mark.parametrize("buckets", [(2, 1), (0,), (-1, 1), (1, 1)])
def test_buckets_that_are_none_fail_the_load_with_the_place(buckets: tuple[float, ...]) -> None:
    with Server() as server, pytest.raises(ConfigError, match=f"model_metrics: the buckets of {NAME} are"):
        served(server, model_metrics=control(NAME, *buckets))


def test_what_was_asked_is_counted_once_and_everywhere() -> None:
    with Server() as server:
        page = MetricsPage(server)
        served(server)
        for _ in range(3):
            ask(server)
        with pytest.raises(AtollError):
            ask(server, value=-1)
        with pytest.raises(AtollError):
            server.infer("double", {"x": np.zeros(3, np.float32)})
        found = samples(page.text())
    labels = ("model", "double"), ("version", "1")
    for name in ("request", "queue", "compute"):
        assert found[f"atoll_inference_{name}_duration_seconds_count", labels] == 3
    assert found["nv_inference_request_success", labels] == 3
    assert found["atoll_inference_batch_size_count", labels] == found["nv_inference_exec_count", labels]
    refused = ("model", "double"), ("reason", "INVALID_ARG"), ("version", "1")
    assert found["atoll_inference_request_refused_count", refused] == 1
    failed = [value for (name, _), value in found.items() if name == "nv_inference_request_failure"]
    assert sum(failed) == 1


def test_a_model_that_goes_leaves_its_state_and_its_events(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    with Server(tmp_path, model_control_mode="explicit") as server:
        page = MetricsPage(server)
        server.load_model("m")
        assert ("nv_inference_request_success", (("model", "m"), ("version", "1"))) in samples(page.text())
        server.unload_model("m")
        server.drain(5)
        found = samples(page.text())
    assert found["atoll_model_load_success_count", (("model", "m"),)] == 1
    assert found["atoll_model_unload_count", (("model", "m"),)] == 1
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "atoll_model_state"}
    assert states == {"LOADING": 0, "READY": 0, "UNLOADING": 0, "UNAVAILABLE": 1}
    assert not [name for name, _ in found if name == "nv_inference_request_success"]


def test_summaries_of_a_server_that_counts_them() -> None:
    texts = ["summary_latencies=true", "summary_quantiles=0.5:0.05"]
    with Server(metrics_config=texts) as server:
        served(server)
        ask(server)
        found = samples(MetricsPage(server, settings=MetricsSettings.from_texts(texts)).text())
    labels = ("model", "double"), ("quantile", "0.5"), ("version", "1")
    assert found["nv_inference_request_summary_us", labels] > 0
    assert len([name for name, key in found if "quantile" in dict(key)]) == 5


def test_who_listens_shows_what_the_server_counts() -> None:
    with Server(metrics_config=["summary_latencies=true"]) as server:
        served(server)
        with (
            listen(server, allow_grpc=False, http_port=0, metrics_port=0) as listener,
            urlopen(f"http://127.0.0.1:{listener.metrics_port}/metrics") as answer,
        ):
            text = answer.read().decode()
    assert "# TYPE nv_inference_request_summary_us summary" in text
    samples(text)


def test_a_setting_that_is_none_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(InvalidArgumentError, match="there is no setting 'nosuch'"):
        Server(metrics_config=["nosuch=1"])


def test_the_in_process_api_says_its_metrics_configuration_to_the_server() -> None:
    options = Options(model_repository="/models", metrics_configuration={"": {"summary_latencies": "true"}})
    assert engine_options(options)["metrics_config"] == ("summary_latencies=true",)


CONTROL = """
model_metrics {
  metric_control: [
    { metric_identifier: { family: "atoll_inference_request_duration_seconds" } histogram_options: { buckets: [ %s ] } }
  ]
}
"""


def write_with_buckets(repository: Path, buckets: str) -> None:
    write_model(repository, "m", 2)
    config = repository / "m" / "config.pbtxt"
    config.write_text((config.read_text() if config.exists() else "") + CONTROL % buckets)


def test_buckets_are_written_in_config_pbtxt(tmp_path: Path) -> None:
    write_with_buckets(tmp_path, "0.25, 30")
    with Server(tmp_path) as server:
        server.infer("m", {"IN": np.ones((1, 2), np.float32)})
        text = MetricsPage(server).text()
    assert steps(text, NAME, "m") == {"0.25": 1, "30": 1, "+Inf": 1}


def test_wrong_buckets_in_config_pbtxt_fail_the_load_and_it_is_counted(tmp_path: Path) -> None:
    write_with_buckets(tmp_path, "3, 1")
    with Server(tmp_path, exit_on_error=False) as server:
        assert f"the buckets of {NAME} are [3.0, 1.0] but must be numbers above zero" in str(server.failures()["m"])
        found = samples(MetricsPage(server).text())
    assert found["atoll_model_load_failure_count", (("model", "m"),)] == 1
    states = {labels: value for (name, labels), value in found.items() if name == "atoll_model_state"}
    assert {dict(labels)["state"] for labels, value in states.items() if value} == {"UNAVAILABLE"}
