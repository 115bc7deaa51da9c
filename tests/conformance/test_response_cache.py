"""What a hit of the response cache counts as: the same questions to Atoll and to the real server."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import skip_without_real_server
from tests.conformance.metrics import page, sample
from tests.conformance.process import ServerProcess, start_atoll, start_real_triton, wait_until
from tests.conformance.wire import Exchange

CODE = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse([pb.Tensor("OUT", pb.get_input_tensor_by_name(request, "IN").as_numpy())])
            for request in requests
        ]
"""
CONFIG = """
backend: "python"
max_batch_size: 8
input [{ name: "IN" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [-1] }]
"""
COUNTED_S = 10.0
OPTION = "--cache-config=local,size=1048576"
UNCACHEABLE = {
    "decoupled": ("model_transaction_policy { decoupled: true }", "'decoupled' transaction policy"),
    "sequence": ("sequence_batching { }", "sequence batching scheduler"),
}


def write(repository: Path, name: str, more: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / "model.py").write_text(CODE)
    (repository / name / "config.pbtxt").write_text(CONFIG + more)


@pytest.fixture(scope="module", params=["atoll", pytest.param("triton", marks=pytest.mark.oracle)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("response-cache")
    repository = folder / "models"
    write(repository, "cached", "response_cache { enable: true }")
    write(repository, "plain", "")
    for name, (more, _) in UNCACHEABLE.items():
        write(repository, name, f"response_cache {{ enable: true }} {more}")
    start: Any = start_atoll
    if request.param == "triton":
        skip_without_real_server()
        start = start_real_triton
    options = (OPTION, "--exit-on-error=false", "--strict-readiness=false")
    with start(repository, folder / "log", *options) as running:
        yield running


def infer(server: ServerProcess, *values: float, **more: Any) -> Exchange:
    inputs = [{"name": "IN", "datatype": "FP32", "shape": [1, len(values)], "data": values}]
    answer = server.exchange("POST", "/v2/models/cached/infer", body=json.dumps({"inputs": inputs, **more}).encode())
    assert answer.status == 200, answer.body
    assert answer.json()["outputs"][0]["data"] == list(values)
    return answer


def counted(server: ServerProcess) -> dict[str, int]:
    """Every count of the model's statistics; the durations of what was counted are there too."""
    document = server.exchange("GET", "/v2/models/cached/stats").json()["model_stats"][0]
    statistics = document["inference_stats"]
    assert all((one["ns"] > 0) is (one["count"] > 0) for one in statistics.values())
    counts = {name: one["count"] for name, one in statistics.items()}
    counts |= {"inferences": document["inference_count"], "executions": document["execution_count"]}
    return counts | {"batches": sum(one["compute_infer"]["count"] for one in document["batch_stats"])}


def expect_counted(server: ServerProcess, expected: dict[str, int]) -> None:
    """The real server counts after it has answered."""
    with suppress(AssertionError):
        wait_until(lambda: counted(server) == expected, "counts", server, COUNTED_S)
    assert counted(server) == expected


def test_what_hits_and_misses_count_as(server: ServerProcess) -> None:
    executed = {"compute_input": 1, "compute_infer": 1, "compute_output": 1, "inferences": 1, "executions": 1}
    infer(server, 1, 2)
    after_miss = {"success": 1, "queue": 1, "fail": 0, "cache_hit": 0, "cache_miss": 1, "batches": 1, **executed}
    expect_counted(server, after_miss)
    infer(server, 1, 2)
    assert infer(server, 1, 2, id="another", parameters={"priority": 1}).json()["id"] == "another"
    expect_counted(server, {**after_miss, "success": 3, "queue": 3, "cache_hit": 2})
    infer(server, 1, 3)
    twice = dict.fromkeys([*executed, "cache_miss", "batches"], 2)
    expect_counted(server, {**after_miss, **twice, "success": 4, "queue": 4, "cache_hit": 2})
    assert sample(server, "nv_cache_num_hits_per_model", model="cached") == 2
    assert sample(server, "nv_cache_num_misses_per_model", model="cached") == 2
    assert sample(server, "nv_inference_count", model="cached") == 2
    assert sample(server, "nv_inference_request_success", model="cached") == 4


def test_the_metrics_are_called_and_described_alike(server: ServerProcess) -> None:
    lines = [line for line in page(server).body.decode().splitlines() if "nv_cache" in line and line.startswith("#")]
    assert {line.removeprefix("# ") for line in lines} == {
        "HELP nv_cache_num_hits_per_model Number of cache hits per model",
        "TYPE nv_cache_num_hits_per_model counter",
        "HELP nv_cache_hit_duration_per_model Total cache hit duration per model, in microseconds",
        "TYPE nv_cache_hit_duration_per_model counter",
        "HELP nv_cache_num_misses_per_model Number of cache misses per model",
        "TYPE nv_cache_num_misses_per_model counter",
        "HELP nv_cache_miss_duration_per_model Total cache miss (insert+lookup) duration per model, in microseconds",
        "TYPE nv_cache_miss_duration_per_model counter",
        "HELP nv_cache_util Cache utilization [0.0 - 1.0]",
        "TYPE nv_cache_util gauge",
        "HELP nv_cache_num_entries Number of responses stored in response cache",
        "TYPE nv_cache_num_entries gauge",
        "HELP nv_cache_num_hits Number of cache hits in response cache",
        "TYPE nv_cache_num_hits gauge",
        "HELP nv_cache_num_misses Number of cache misses in response cache",
        "TYPE nv_cache_num_misses gauge",
        "HELP nv_cache_num_lookups Number of cache lookups in response cache",
        "TYPE nv_cache_num_lookups gauge",
        "HELP nv_cache_num_evictions Number of cache evictions in response cache",
        "TYPE nv_cache_num_evictions gauge",
        "HELP nv_cache_lookup_duration Total cache lookup duration (hit and miss), in microseconds",
        "TYPE nv_cache_lookup_duration gauge",
        "HELP nv_cache_insertion_duration Total cache insertion duration, in microseconds",
        "TYPE nv_cache_insertion_duration gauge",
    }
    text = page(server).body.decode()
    assert 'nv_cache_num_hits_per_model{model="cached",version="1"}' in text
    assert 'nv_cache_num_hits_per_model{model="plain"' not in text


@pytest.mark.parametrize("name", UNCACHEABLE)
def test_models_that_cannot_be_cached_are_refused_alike(server: ServerProcess, name: str) -> None:
    message = f"Response Cache does not currently support model {name} with {UNCACHEABLE[name][1]}. "
    assert message + "Please disable the response cache." in server.log_text()
    assert server.exchange("GET", f"/v2/models/{name}/ready").status == 400
