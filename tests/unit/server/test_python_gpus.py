"""Python models on a machine with GPUs: which instances they have, and what these see. No GPU is needed for that."""

from pathlib import Path

import pytest
from tests.unit.server.python_repository import serving

SAYS_DEVICE = """
import os


class TritonPythonModel:
    def initialize(self, args):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        with open(os.path.join(args["model_repository"], "notes"), "a") as file:
            file.write(f"{visible} {args['model_instance_kind']} {args['model_instance_device_id']}\\n")

    def execute(self, requests):
        return []
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [1] }]
"""


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("", ["0 GPU 0", "1 GPU 0"]),
        ("instance_group [{ count: 2 kind: KIND_GPU gpus: [1] }]", ["1 GPU 0", "1 GPU 0"]),
        ("instance_group [{ kind: KIND_GPU }]", ["0 GPU 0", "1 GPU 0"]),
        ("instance_group [{ kind: KIND_CPU }]", ["all CPU 0"]),
    ],
)
def test_instances_on_a_machine_with_two_gpus(
    groups: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.py").write_text(SAYS_DEVICE)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG + groups)
    monkeypatch.setattr("atoll.models.fleet.visible_gpus", lambda environment: (0, 1))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with serving(tmp_path) as server:
        assert server.model_ready("m")
    assert sorted((tmp_path / "m" / "notes").read_text().splitlines()) == expected
