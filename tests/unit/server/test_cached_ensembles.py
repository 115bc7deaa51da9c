"""Ensembles and the response cache: at the top, in a step, and when a step's model becomes another one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll

CACHED = {"response_cache": {"enable": True}}
TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [-1])}, "outputs": {"OUT": ("FP32", [-1])}}
CONFIG = """
platform: "ensemble"
input [{ name: "X" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [-1] }]
ensemble_scheduling { step [
  { model_name: "first" model_version: -1 input_map { key: "IN" value: "X" } output_map { key: "OUT" value: "T" } },
  { model_name: "second" model_version: -1 input_map { key: "IN" value: "T" } output_map { key: "OUT" value: "Y" } }
] }
"""


class Adding:
    """A function that counts its calls."""

    def __init__(self, what: float):
        self.what = what
        self.calls = 0

    def __call__(self, IN: Any) -> Any:  # noqa: N803
        self.calls += 1
        return IN + np.float32(self.what)


def repository(folder: Path, *, cached: bool) -> Path:
    model = folder / "models" / "both"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG + ("response_cache { enable: true }\n" if cached else ""))
    return folder / "models"


@pytest.fixture(params=[True, False], ids=["cached at the top", "cached in its first step"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[atoll.Server]:
    top: bool = request.param
    made = atoll.Server(repository(tmp_path, cached=top), cache_config=["local,size=1MiB"])
    made.add_model("first", Adding(1), config=None if top else CACHED, **TENSORS)
    made.add_model("second", Adding(10), **TENSORS)
    with made:
        yield made


def ask(server: atoll.Server, value: float) -> float:
    return float(server.infer("both", {"X": np.array([value], np.float32)})["Y"][0])


def executions(server: atoll.Server) -> dict[str, tuple[int, int, int]]:
    return {
        one.name: (one.success.count, one.cache_hit.count, one.execution_count)
        for one in server.statistics()
        if one.name != "both" or one.cached
    }


def test_an_equal_request_runs_no_step_that_is_behind_the_cache(server: atoll.Server) -> None:
    assert [ask(server, value) for value in (1, 1, 2, 1)] == [12, 12, 13, 12]
    counted = executions(server)
    if "both" in counted:
        assert counted["both"][:2] == (4, 2)
        assert counted["first"] == counted["second"] == (2, 0, 2)
    else:
        assert counted == {"first": (4, 2, 2), "second": (4, 0, 4)}


def test_a_step_that_has_become_another_model_answers_itself(server: atoll.Server) -> None:
    assert [ask(server, 1), ask(server, 1)] == [12, 12]
    for name, config in (("second", None), ("first", CACHED)):
        server.add_model(name, Adding(100), config=config, **TENSORS)
        found = {ask(server, 1), ask(server, 1)}
        assert found == {102 if name == "second" else 201}


def test_what_is_said_of_a_request_counts_for_ensembles(server: atoll.Server) -> None:
    inputs = {"X": np.array([1], np.float32)}
    for parameters in ({"a": 1}, {"a": 2}, {"a": 1}):
        server.infer("both", inputs, parameters=parameters)
    counted = executions(server)
    assert counted["second"][0] == (2 if "both" in counted else 3)
