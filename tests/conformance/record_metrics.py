"""Asks the real server for its metrics page with every setting on, and writes down what is on it:
python -m tests.conformance.record_metrics
"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance import metrics
from tests.conformance.model_folders import write_model
from tests.conformance.process import ServerProcess, start_real_triton
from tests.conformance.recording import write_down

NAME = "metrics_settings"
OPTIONS = (
    "--metrics-config=summary_latencies=true",
    "--metrics-config=histogram_latencies=true",
    "--metrics-config=summary_quantiles=0.5:0.05,0.99:0.001",
    "--cache-config=local,size=1048576",
)
CODE = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        answers = [pb.InferenceResponse([pb.Tensor("OUT", pb.get_input_tensor_by_name(request, "IN").as_numpy())])
                   for request in requests]
        if not pb.using_decoupled:
            return answers
        for request, answer in zip(requests, answers):
            sender = request.get_response_sender()
            sender.send(answer)
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
CONFIG = """
backend: "python"
max_batch_size: 8
input [{ name: "IN" data_type: TYPE_INT32 dims: [ 2 ] }]
output [{ name: "OUT" data_type: TYPE_INT32 dims: [ 2 ] }]
"""
MODELS = {
    "plain": 'metric_tags { key: "team" value: "a" }',
    "cached": "response_cache { enable: true }",
    "decoupled": "model_transaction_policy { decoupled: true }",
}


def write_repository(root: Path) -> Path:
    for name, more in MODELS.items():
        write_model(root, name, CONFIG + more, CODE.replace("pb.using_decoupled", str(name == "decoupled")))
    return root


def families_of(server: ServerProcess) -> dict[str, Any]:
    """Of each family: its type, its help text, the names of its labels, and the models that have lines."""
    return {
        name: {
            "type": family.type,
            "help": family.documentation,
            "labels": sorted({label for sample in family.samples for label in sample.labels}),
            "models": sorted({sample.labels["model"] for sample in family.samples if "model" in sample.labels}),
        }
        for name, family in sorted(metrics.families(server).items())
    }


def record(folder: Path) -> dict[str, Any]:
    with start_real_triton(write_repository(folder / "models"), folder / "log", *OPTIONS) as server:
        return families_of(server)


if __name__ == "__main__":
    sys.exit(write_down(record, NAME))
