"""The metrics page: what Prometheus and existing dashboards find on it."""

import numpy as np
import pytest
from tests.conformance.clients import any_client, pair
from tests.conformance.metrics import families, page, sample
from tests.conformance.process import ServerProcess
from tests.conformance.record import metric_families
from tests.conformance.recording import read_record


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
