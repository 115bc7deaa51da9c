"""What Atoll has beyond the recorded server: models in threads in traces, load metrics in answers of generate."""

import json
from pathlib import Path

import pytest
from tests.conformance.process import start_atoll
from tests.conformance.tracing import scenarios
from tests.conformance.tracing.scenarios import PARENT, infer

_KV = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        family = pb_utils.MetricFamily(
            name="nv_trt_llm_kv_cache_block_metrics", description="blocks", kind=pb_utils.MetricFamily.GAUGE
        )
        self.metrics = []
        for kind, value in (("used", 3), ("max", 12), ("tokens_per", 64), ("free", 9)):
            metric = family.Metric(labels={"kv_cache_block_type": kind, "model": "kv"})
            metric.set(value)
            self.metrics.append(metric)

    def execute(self, requests):
        texts = [pb_utils.get_input_tensor_by_name(one, "text_input").as_numpy() for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("text_output", one)]) for one in texts]
"""
_KV_CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }]
output [{ name: "text_output" data_type: TYPE_STRING dims: [ 1 ] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""


def in_threads(repository: Path) -> Path:
    """The same models, in threads of the server."""
    scenarios.write_models(repository)
    for config in repository.glob("*/config.pbtxt"):
        if "ensemble" not in config.read_text():
            config.write_text(config.read_text() + 'parameters { key: "isolation" value { string_value: "thread" } }\n')
    return repository


def test_models_in_threads_have_their_places_in_a_trace(tmp_path: Path) -> None:
    repository = in_threads(tmp_path / "models")
    options = ("--trace-config=level=TIMESTAMPS", "--trace-config=rate=1")
    file = f"--trace-config=triton,file={tmp_path / 'trace.json'}"
    with start_atoll(repository, tmp_path / "log", scenarios.CACHE, *options, file) as server:
        assert PARENT in scenarios.facts(infer(server, "steps", "whole", {"traceparent": PARENT}))
        assert PARENT not in scenarios.facts(infer(server, "calls", "alone", {"traceparent": PARENT}))
        server.terminate()
        server.wait()
    entries = json.loads((tmp_path / "trace.json").read_text())
    found = {(*one["model"], *(one["parent"] or ())) for one in scenarios.summary(entries)}
    assert found == {
        ("steps", 1, "whole"),
        ("echo", 1, "whole", "steps", 1, "whole"),
        ("calls", 1, "whole", "steps", 1, "whole"),
        ("echo", 1, "inner", "calls", 1, "whole"),
        ("calls", 1, "alone"),
    }


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_generate_tells_how_full_the_cache_is_and_is_traced(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "models" / "kv"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(_KV)
    (folder / "config.pbtxt").write_text(_KV_CONFIG)
    options = ("--trace-config=level=TIMESTAMPS", "--trace-config=rate=1")
    file = f"--trace-config=triton,file={tmp_path / 'trace.json'}"
    body = json.dumps({"text_input": "x"}).encode()
    with start_atoll(tmp_path / "models", tmp_path / "log", *options, file) as server:
        told = [
            server.exchange(
                "POST", f"/v2/models/kv/{path}", body=body, headers={"endpoint-load-metrics-format": form}
            ).headers.get("endpoint-load-metrics")
            for form in ("json", "text", "other")
        ]
        plain = server.exchange("POST", f"/v2/models/kv/{path}", body=body)
        server.terminate()
        server.wait()
    assert told == [
        'JSON {"named_metrics": {"kv_cache_utilization": 0.25, "max_token_capacity": 768}}',
        "TEXT named_metrics.kv_cache_utilization=0.25, named_metrics.max_token_capacity=768",
        None,
    ]
    assert plain.status == 200
    assert "endpoint-load-metrics" not in plain.headers
    noted = [set(one["noted"]) for one in scenarios.summary(json.loads((tmp_path / "trace.json").read_text()))]
    assert len(noted) == 4
    assert all({"HTTP_RECV_END", "COMPUTE_END", "REQUEST_END", "HTTP_SEND_END"} <= one for one in noted)
