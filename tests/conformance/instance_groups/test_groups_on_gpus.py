"""Instance groups where the server believes that there are GPUs: which instances it makes, and what each is told. None
is there, and nobody here can ask the real server: what is expected follows its documentation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.model_folders import write_model

from atoll.errors import AtollError
from atoll.models import fleet
from atoll.server import Server

REPORTING = """
import json, os
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        keys = ("model_instance_name", "model_instance_kind", "model_instance_device_id")
        self.found = [*(args[key] for key in keys), os.environ.get("CUDA_VISIBLE_DEVICES", "all")]
        with open(os.path.join(args["model_repository"], "instances"), "a") as file:
            file.write(json.dumps(self.found) + chr(10))

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([1], np.int32))]) for _ in requests]
"""
TENSORS = (
    'backend: "python" input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ] '
    'output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ] '
)
Loaded = Callable[[str], list[list[str]]]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """What each instance of a model with such groups was told, where there are GPUs 0, 1 and 2."""
    monkeypatch.setattr(fleet, "visible_gpus", lambda environment: (0, 1, 2))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def load(groups: str) -> list[list[str]]:
        folder = write_model(tmp_path / "models", "m", TENSORS + groups, REPORTING)
        with Server(tmp_path / "models", model_control_mode="explicit") as server:
            server.load_model("m")
            assert server.infer("m", {"IN": np.array([1], np.int32)})["OUT"] == [1]
        lines = (folder / "instances").read_text().splitlines()
        return sorted(json.loads(line) for line in lines)

    return load


def test_unless_told_otherwise_one_on_each(loaded: Loaded) -> None:
    assert loaded("") == [[f"m_{number}_gpu{number}", "GPU", "0", str(number)] for number in range(3)]


def test_as_many_as_counted_on_each_of_those_named(loaded: Loaded) -> None:
    assert loaded("instance_group [ { kind: KIND_GPU count: 2 gpus: [ 2, 0 ] } ]") == [
        ["m_0_0_gpu2", "GPU", "0", "2"],
        ["m_0_1_gpu2", "GPU", "0", "2"],
        ["m_0_2_gpu0", "GPU", "0", "0"],
        ["m_0_3_gpu0", "GPU", "0", "0"],
    ]


def test_groups_of_all_kinds_side_by_side(loaded: Loaded) -> None:
    groups = "{ kind: KIND_CPU count: 2 }, { kind: KIND_AUTO gpus: [ 1 ] }, { kind: KIND_MODEL }"
    assert loaded(f"instance_group [ {groups} ]") == [
        ["m_0_0", "CPU", "0", "all"],
        ["m_0_1", "CPU", "0", "all"],
        ["m_1_0_gpu1", "GPU", "0", "1"],
        ["m_2_0", "MODEL", "0", "all"],
    ]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            "kind: KIND_GPU gpus: [ 1, 3 ]",
            r"specifies invalid or unsupported gpu id 3. GPUs .* of 6.000000 are: 0, 1, 2",
        ),
        ("kind: KIND_AUTO gpus: [ 7 ]", "specifies invalid or unsupported gpu id 7."),
        ("kind: KIND_CPU gpus: [ 0 ]", "has kind KIND_CPU but specifies one or more GPUs"),
        ("kind: KIND_MODEL gpus: [ 0 ]", "has kind KIND_MODEL but specifies one or more GPUs"),
    ],
)
def test_what_cannot_be(loaded: Loaded, group: str, message: str) -> None:
    with pytest.raises(AtollError, match=message):
        loaded(f"instance_group [ {{ {group} }} ]")


def test_a_backend_of_arrays_without_gpus_stays_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conformance.models import write_onnx_repository

    monkeypatch.setattr(fleet, "visible_gpus", lambda environment: (0, 1, 2))
    repository = write_onnx_repository(tmp_path / "models", "simple")
    with Server(repository, model_control_mode="explicit") as server:
        server.load_model("simple")
        kinds: list[Any] = [one.kind.name for one in server.model("simple").config.instance_group]
        assert kinds == ["KIND_CPU"]
