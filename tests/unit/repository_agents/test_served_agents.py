"""Agents of models that a server loads, loads anew and unloads."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import atoll

SIMPLE = Path(__file__).parents[3] / "examples" / "models" / "simple"
SPY = """
import shutil
from atoll.repositories.agents.api import Action

calls = []
made = []


class Agent:
    def __init__(self):
        made.append(self)
        self.number = len(made)

    def act(self, action, model):
        calls.append(f"{self.number} {action.value}")
        if action is Action.LOAD and model.parameters.get("copy"):
            folder = model.new_folder()
            shutil.copytree(model.directory, folder, dirs_exist_ok=True)
            return folder
        if action is Action.LOAD and model.parameters.get("refuse"):
            raise ValueError("on principle")
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with `simple`, the agent `spy` installed, and a place of our own for temporary folders."""
    site = tmp_path / "site"
    (site / "spy-1.0.dist-info").mkdir(parents=True)
    (site / "spy_4711.py").write_text(SPY)
    (site / "spy-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (site / "spy-1.0.dist-info/entry_points.txt").write_text("[atoll.repository_agents]\nspy = spy_4711:Agent\n")
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    shutil.copytree(SIMPLE, tmp_path / "repository/simple")
    yield tmp_path / "repository"
    sys.modules.pop("spy_4711", None)


def with_agent(repository: Path, *parameters: str) -> None:
    listed = ", ".join(f'{{ key: "{key}" value: "yes" }}' for key in parameters)
    text = (SIMPLE / "config.pbtxt").read_text()
    text += f'\nmodel_repository_agents {{ agents [ {{ name: "spy" parameters [ {listed} ] }} ] }}\n'
    (repository / "simple/config.pbtxt").write_text(text)


def calls() -> list[str]:
    return list(sys.modules["spy_4711"].calls)


def answer(server: atoll.Server) -> int:
    ones = np.ones((1, 16), np.int32)
    return int(np.asarray(server.infer("simple", {"INPUT0": ones, "INPUT1": ones})["OUTPUT0"])[0, 0])


@pytest.mark.parametrize("parameters", [[], ["copy"]])
def test_load_load_anew_and_unload(repository: Path, parameters: list[str]) -> None:
    scratch = repository.parent / "scratch"
    with_agent(repository, *parameters)
    with atoll.Server(repository, model_control_mode="explicit") as server:
        server.load_model("simple")
        assert calls() == ["1 LOAD", "1 LOAD_COMPLETE"]
        assert answer(server) == 2
        with (repository / "simple/config.pbtxt").open("a") as config:
            config.write('parameters { key: "x" value: { string_value: "y" } }\n')
        server.load_model("simple")
        assert answer(server) == 2
        said = calls()
        assert said.index("2 LOAD") < said.index("1 UNLOAD")
        server.unload_model("simple")
    assert sorted(calls()) == sorted(
        f"{number} {action}" for number in (1, 2) for action in ("LOAD", "LOAD_COMPLETE", "UNLOAD", "UNLOAD_COMPLETE")
    )
    for number in (1, 2):
        life = [call for call in calls() if call.startswith(str(number))]
        assert life == [f"{number} {action}" for action in ("LOAD", "LOAD_COMPLETE", "UNLOAD", "UNLOAD_COMPLETE")]
    assert os.listdir(scratch) == []


def test_a_refused_model_leaves_the_old_one_serving(repository: Path) -> None:
    with_agent(repository, "copy")
    with atoll.Server(repository, model_control_mode="explicit") as server:
        server.load_model("simple")
        with_agent(repository, "refuse")
        with pytest.raises(
            atoll.AtollError, match="repository agent 'spy' failed on LOAD of model 'simple': ValueError: on"
        ):
            server.load_model("simple")
        assert answer(server) == 2
        assert calls() == ["1 LOAD", "1 LOAD_COMPLETE", "2 LOAD", "2 LOAD_FAIL"]
    assert calls()[4:] == ["1 UNLOAD", "1 UNLOAD_COMPLETE"]
    assert os.listdir(repository.parent / "scratch") == []


def test_a_model_that_the_backend_refuses(repository: Path) -> None:
    with_agent(repository, "copy")
    (repository / "simple/1/model.onnx").write_bytes(b"half a mod")
    with atoll.Server(repository, model_control_mode="explicit") as server:
        with pytest.raises(atoll.AtollError, match=r"model\.onnx"):
            server.load_model("simple")
        assert calls() == ["1 LOAD", "1 LOAD_FAIL"]
        assert os.listdir(repository.parent / "scratch") == []


def test_files_of_a_load_request_are_shown_to_its_agents_and_removed(repository: Path) -> None:
    model = (SIMPLE / "1/model.onnx").read_bytes()
    config = '{"backend": "onnxruntime", "max_batch_size": 8, "model_repository_agents": {"agents": [{"name": "spy"}]}}'
    scratch = repository.parent / "scratch"
    with atoll.Server(repository, model_control_mode="explicit") as server:
        server.load_model("simple", config=config, files={"5/model.onnx": model})
        assert answer(server) == 2
        assert calls() == ["1 LOAD", "1 LOAD_COMPLETE"]
        assert len(os.listdir(scratch)) == 1
    assert calls()[2:] == ["1 UNLOAD", "1 UNLOAD_COMPLETE"]
    assert os.listdir(scratch) == []
