"""Who is called when, with what, and what happens when one of them fails."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.config.model_config import ModelConfig, ModelRepositoryAgents
from atoll.errors import ConfigError, InternalError, NotFoundError
from atoll.repositories.agents.api import Action, AgentModel
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.local import LocalRepository
from atoll.repositories.repository import ModelFolder

CONFIG = ModelConfig(name="m", max_batch_size=8)
Act = Callable[[Action, AgentModel], Any]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agents' folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    (tmp_path / "repository/m/1").mkdir(parents=True)
    (tmp_path / "repository/m/1/model.onnx").write_text("the repository's")
    return LocalRepository(tmp_path / "repository").folder("m")


class Troupe:
    """Agents by name whose calls are written down; `plays` says what one does in a call."""

    def __init__(self, **plays: Act):
        self.plays = plays
        self.calls: list[str] = []
        self.models: list[AgentModel] = []

    def find(self, name: str) -> Callable[[], Any]:
        if name not in self.plays:
            raise NotFoundError(f"no agent {name}")
        troupe = self

        class Agent:
            def act(self, action: Action, model: AgentModel) -> Any:
                troupe.calls.append(f"{name} {action.value}")
                troupe.models.append(model)
                return troupe.plays[name](action, model)

        return Agent

    def chain(self, folder: ModelFolder, **options: bool) -> AgentChain:
        agents = tuple(ModelRepositoryAgents.Agent(name=name, parameters={"of": name}) for name in self.plays)
        return AgentChain(agents, folder, CONFIG, find=self.find, **options)


def nothing(action: Action, model: AgentModel) -> None:
    """An agent that looks on."""


def raising(error: Exception, *actions: Action) -> Act:
    def act(action: Action, model: AgentModel) -> None:
        if action in actions:
            raise error

    return act


def copying(content: str) -> Act:
    """An agent that puts a folder of its own in the model's place."""

    def act(action: Action, model: AgentModel) -> Path | None:
        if action is not Action.LOAD:
            return None
        fresh = model.new_folder()
        (fresh / "7").mkdir()
        before = next(model.directory.glob("*/model.onnx")).read_text()
        (fresh / "7/model.onnx").write_text(f"{before}, {content}")
        return fresh

    return act


def test_a_life_in_the_real_servers_order(folder: ModelFolder) -> None:
    troupe = Troupe(a=nothing, b=nothing, c=nothing)
    chain = troupe.chain(folder)
    assert chain.load() is folder
    assert not chain.replaced
    chain.load_complete()
    chain.unload()
    chain.unload_complete()
    assert troupe.calls == [
        *("a LOAD", "b LOAD", "c LOAD"),
        *("c LOAD_COMPLETE", "b LOAD_COMPLETE", "a LOAD_COMPLETE"),
        *("a UNLOAD", "b UNLOAD", "c UNLOAD"),
        *("c UNLOAD_COMPLETE", "b UNLOAD_COMPLETE", "a UNLOAD_COMPLETE"),
    ]
    first = troupe.models[0]
    assert (first.name, first.directory, first.config) == ("m", folder.directory, CONFIG)
    assert [model.parameters for model in troupe.models[:3]] == [{"of": "a"}, {"of": "b"}, {"of": "c"}]


def test_a_load_that_fails_later(folder: ModelFolder) -> None:
    troupe = Troupe(a=nothing, b=nothing)
    chain = troupe.chain(folder)
    chain.load()
    chain.load_fail()
    assert troupe.calls == ["a LOAD", "b LOAD", "b LOAD_FAIL", "a LOAD_FAIL"]


def test_an_agent_that_refuses(folder: ModelFolder) -> None:
    refusal = ConfigError("not this one")
    troupe = Troupe(a=nothing, b=raising(refusal, Action.LOAD), c=nothing)
    with pytest.raises(ConfigError) as caught:
        troupe.chain(folder).load()
    assert caught.value is refusal
    assert troupe.calls == ["a LOAD", "b LOAD", "b LOAD_FAIL", "a LOAD_FAIL"]


def test_an_agent_that_breaks(folder: ModelFolder) -> None:
    troupe = Troupe(a=raising(KeyError("token"), Action.LOAD))
    with pytest.raises(InternalError, match="repository agent 'a' failed on LOAD of model 'm': KeyError: 'token'"):
        troupe.chain(folder).load()
    assert troupe.calls == ["a LOAD", "a LOAD_FAIL"]


def test_an_agent_that_cannot_be_made(folder: ModelFolder) -> None:
    def find(name: str) -> Callable[[], Any]:
        return lambda: 1 / 0  # type: ignore[return-value]

    chain = AgentChain([ModelRepositoryAgents.Agent(name="a")], folder, CONFIG, find=find)
    with pytest.raises(InternalError, match="repository agent 'a' failed on LOAD of model 'm': ZeroDivisionError"):
        chain.load()


def test_an_agent_that_is_not_installed_is_said_before_any_is_called(folder: ModelFolder) -> None:
    troupe = Troupe(a=nothing)
    agents = [ModelRepositoryAgents.Agent(name=name) for name in ("a", "absent")]
    with pytest.raises(NotFoundError, match="no agent absent"):
        AgentChain(agents, folder, CONFIG, find=troupe.find).load()
    assert troupe.calls == []


def test_folders_of_agents_are_handed_on_and_removed(folder: ModelFolder, scratch: Path) -> None:
    troupe = Troupe(a=copying("then a's"), b=nothing, c=copying("then c's"))
    chain = troupe.chain(folder)
    loaded = chain.load()
    assert chain.replaced
    assert (loaded.name, loaded.repository) == (folder.name, folder.repository)
    assert list(loaded.versions) == [7]
    assert (loaded.versions[7] / "model.onnx").read_text() == "the repository's, then a's, then c's"
    assert troupe.models[1].directory not in (folder.directory, loaded.directory)
    chain.load_complete()
    assert {model.directory for model in troupe.models[3:]} == {loaded.directory}
    chain.unload()
    assert len(os.listdir(scratch)) == 2
    chain.unload_complete()
    assert os.listdir(scratch) == []
    assert (folder.directory / "1/model.onnx").exists()


@pytest.mark.parametrize("last", [nothing, raising(ValueError("no"), Action.LOAD, Action.LOAD_FAIL)])
def test_folders_of_a_failed_load_are_removed(folder: ModelFolder, scratch: Path, last: Act) -> None:
    chain = Troupe(a=copying("a's"), b=last).chain(folder)
    if last is nothing:
        chain.load()
        chain.load_fail()
    else:
        with pytest.raises(InternalError):
            chain.load()
    assert os.listdir(scratch) == []


def test_what_is_raised_in_a_notification_is_logged_and_stops_nothing(
    folder: ModelFolder, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after = (Action.LOAD_COMPLETE, Action.UNLOAD, Action.UNLOAD_COMPLETE)
    troupe = Troupe(a=copying("a's"), b=raising(RuntimeError("I am upset"), *after), c=nothing)
    chain = troupe.chain(folder)
    chain.load()
    with caplog.at_level(logging.ERROR):
        chain.load_complete()
        chain.unload()
        chain.unload_complete()
    assert troupe.calls[3:] == [
        *("c LOAD_COMPLETE", "b LOAD_COMPLETE", "a LOAD_COMPLETE"),
        *("a UNLOAD", "b UNLOAD", "c UNLOAD"),
        *("c UNLOAD_COMPLETE", "b UNLOAD_COMPLETE", "a UNLOAD_COMPLETE"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"repository agent 'b' failed on {action.value} of model 'm'" for action in after
    ]
    assert all("I am upset" in (record.exc_text or "") for record in caplog.records)
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("wrong", ["/tmp", Path("relative"), Path("/absent/folder"), 5])
def test_what_is_no_folder_is_refused(folder: ModelFolder, wrong: object) -> None:
    troupe = Troupe(a=nothing, b=lambda action, model: wrong)
    with pytest.raises(ConfigError, match=r"repository agent 'b' returned .* as the folder of model 'm'; expected the"):
        troupe.chain(folder).load()
    assert troupe.calls[-2:] == ["b LOAD_FAIL", "a LOAD_FAIL"]


def linking(target: Path) -> Act:
    def act(action: Action, model: AgentModel) -> Path | None:
        if action is not Action.LOAD:
            return None
        fresh = model.new_folder()
        (fresh / "1").mkdir()
        (fresh / "1/model.onnx").symlink_to(target)
        return fresh

    return act


def test_an_agents_folder_may_link_to_the_model_and_nowhere_else(
    folder: ModelFolder, tmp_path: Path, scratch: Path
) -> None:
    loaded = Troupe(a=linking(folder.versions[1] / "model.onnx")).chain(folder).load()
    assert (loaded.versions[1] / "model.onnx").read_text() == "the repository's"
    secret = tmp_path / "secret"
    secret.touch()
    troupe = Troupe(a=linking(secret))
    with pytest.raises(ConfigError, match="outside of the repository"):
        troupe.chain(folder).load()
    assert troupe.calls == ["a LOAD", "a LOAD_FAIL"]
    assert Troupe(a=linking(secret)).chain(folder, external_symlinks=True).load().versions


def test_without_agents_nothing_happens(folder: ModelFolder) -> None:
    for agents in (None, ModelRepositoryAgents()):
        chain = AgentChain.of(agents, folder, CONFIG)
        assert chain.load() is folder
        chain.load_complete()
        chain.unload()
        chain.unload_complete()


def test_the_configurations_agents_are_the_installed_ones(folder: ModelFolder) -> None:
    agent = ModelRepositoryAgents.Agent(name="checksum", parameters={"MD5:1/model.onnx": "0" * 32})
    with pytest.raises(ConfigError, match=r"Mismatched MD5 hash for file 1/model\.onnx"):
        AgentChain.of(ModelRepositoryAgents(agents=(agent,)), folder, CONFIG).load()
    with pytest.raises(NotFoundError, match=r"unable to find repository agent 'nope': .*Installed agents: .*checksum"):
        AgentChain.of(ModelRepositoryAgents(agents=(ModelRepositoryAgents.Agent(name="nope"),)), folder, CONFIG).load()


LIFE = {"load": "load_complete load_fail", "load_complete": "unload", "unload": "unload_complete"}
STEPS = ("load", "load_complete", "load_fail", "unload", "unload_complete")


@pytest.mark.parametrize("path", ["", "load", "load load_complete", "load load_complete unload", "load load_fail"])
def test_calls_out_of_order_are_bugs(folder: ModelFolder, path: str) -> None:
    done = path.split()
    allowed = LIFE.get(done[-1], "").split() if done else ["load"]
    for step in STEPS:
        troupe = Troupe(a=nothing)
        chain = troupe.chain(folder)
        for one in done:
            getattr(chain, one)()
        before = list(troupe.calls)
        if step in allowed:
            getattr(chain, step)()
        else:
            with pytest.raises(RuntimeError, match="This is a bug"):
                getattr(chain, step)()
            assert troupe.calls == before


def test_no_folder_after_the_end(folder: ModelFolder, scratch: Path) -> None:
    troupe = Troupe(a=nothing)
    chain = troupe.chain(folder)
    chain.load()
    chain.load_fail()
    with pytest.raises(InternalError, match="after the last action"):
        troupe.models[0].new_folder()
    assert os.listdir(scratch) == []
