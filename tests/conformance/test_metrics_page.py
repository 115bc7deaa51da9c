"""The metrics page: what Prometheus and existing dashboards find on it."""

import gzip
from collections.abc import Iterator

import numpy as np
import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.clients import any_client, pair
from tests.conformance.metrics import families, page, sample
from tests.conformance.process import HOST, ServerProcess, start_atoll
from tests.conformance.record import metric_families
from tests.conformance.record_metrics import NAME, OPTIONS, families_of, record, write_repository
from tests.conformance.recording import read_record
from tests.conformance.wire import Exchange

DIFFERENCES = {
    # the real server leaves requests of models with a cache out, though its own text says that they are included
    "nv_inference_request_summary_us": {"models": ["cached", "decoupled", "plain"]},
}
NOT_IN_2_51 = {"nv_inference_first_response_histogram_ms", "nv_model_load_duration_secs"}


def test_the_page_is_what_prometheus_asks_for(atoll: ServerProcess) -> None:
    answer = page(atoll)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert families(atoll)


def test_families_have_the_real_servers_names_types_help_and_labels(atoll: ServerProcess) -> None:
    ours, recorded = metric_families(atoll), read_record("metrics")
    assert {name: ours.get(name) for name in recorded} == recorded


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_shows(real_triton: ServerProcess) -> None:
    assert metric_families(real_triton) == read_record("metrics")


def test_every_version_of_every_model_has_its_series(atoll: ServerProcess) -> None:
    samples = families(atoll)["nv_inference_request_success"].samples
    found = {(one.labels["model"], one.labels["version"]) for one in samples}
    assert {("simple", "1"), ("two_versions", "1"), ("two_versions", "3"), ("failing", "1")} <= found


def test_requests_are_counted(atoll: ServerProcess) -> None:
    names = ("nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count")
    before = [sample(atoll, name, model="matrix") for name in names]
    durations = sample(atoll, "nv_inference_request_duration_us", model="matrix")
    with any_client("http", atoll) as client:
        for _ in range(5):
            client.infer("matrix", {"INPUT0": np.ones((2, 3), np.float32)})
    assert [sample(atoll, name, model="matrix") for name in names] == [value + 5 for value in before]
    assert sample(atoll, "nv_inference_request_duration_us", model="matrix") > durations


def test_a_batch_counts_its_rows(atoll: ServerProcess) -> None:
    count, executions = (
        sample(atoll, name, model="simple") for name in ("nv_inference_count", "nv_inference_exec_count")
    )
    with any_client("grpc", atoll) as client:
        client.infer("simple", pair(rows=8))
    assert sample(atoll, "nv_inference_count", model="simple") == count + 8
    assert sample(atoll, "nv_inference_exec_count", model="simple") == executions + 1


def test_a_refused_request_counts_nowhere(atoll: ServerProcess) -> None:
    def counted() -> list[float]:
        page_families = families(atoll)
        return [
            one.value
            for name in ("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count")
            for one in page_families[name].samples
            if one.labels["model"] == "simple"
        ]

    before = counted()
    assert atoll.exchange("POST", "/v2/models/simple/infer", body=b'{"inputs":[]}').status == 400
    assert counted() == before


def test_a_failed_execution_counts_as_the_backends(atoll: ServerProcess) -> None:
    before = sample(atoll, "nv_inference_request_failure", model="failing", reason="BACKEND")
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[2],"data":[5,6]}]}'
    assert atoll.exchange("POST", "/v2/models/failing/infer", body=body).status >= 400
    assert sample(atoll, "nv_inference_request_failure", model="failing", reason="BACKEND") == before + 1


@pytest.fixture(scope="module")
def told_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose page has everything that a setting can add."""
    folder = tmp_path_factory.mktemp("metrics-settings")
    with start_atoll(write_repository(folder / "models"), folder / "log", *OPTIONS) as server:
        yield server


def test_with_all_settings_too_names_types_help_labels_and_models_are_the_real_servers(told_all: ServerProcess) -> None:
    ours, recorded = families_of(told_all), read_record(NAME)
    expected = {name: {**family, **DIFFERENCES.get(name, {})} for name, family in recorded.items()}
    assert {name: ours.get(name) for name in recorded} == expected
    others = {name for name in ours.keys() - recorded.keys() if not name.startswith(("atoll_", "process_"))}
    assert others == NOT_IN_2_51


@pytest.mark.oracle
def test_the_record_of_all_settings_is_what_the_real_server_shows(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert ask_again(record, tmp_path_factory.mktemp("real-metrics")) == read_record(NAME)


def test_first_responses_and_summaries_count_requests(told_all: ServerProcess) -> None:
    with any_client("http", told_all) as client:
        for _ in range(3):
            client.infer("plain", {"IN": np.ones((1, 2), np.int32)})
    found = families(told_all)["nv_inference_request_summary_us"].samples
    plain = {(one.name, one.labels.get("quantile")): one.value for one in found if one.labels["model"] == "plain"}
    assert plain["nv_inference_request_summary_us_count", None] == 3
    low, high = (plain["nv_inference_request_summary_us", quantile] for quantile in ("0.5", "0.99"))
    assert 0 < low <= high
    durations = families(told_all)["atoll_inference_request_duration_seconds"].samples
    counts = {one.labels["model"]: one.value for one in durations if one.name.endswith("_count")}
    assert counts["plain"] == 3


def test_prometheus_gets_the_page_compressed(told_all: ServerProcess) -> None:
    asked = {"Accept-Encoding": "gzip"}
    answer = Exchange.ask(HOST, told_all.ports["metrics"], "GET", "/metrics", headers=asked)
    assert answer.headers["content-encoding"] == "gzip"
    assert b"nv_inference_request_success{" in gzip.decompress(answer.body)
