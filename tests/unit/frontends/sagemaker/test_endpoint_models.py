"""The models of a multi-model endpoint: what is asked of the server, in which order, and what is left of a failure."""

from pathlib import Path

import pytest
from tests.unit.models.tiny import write_model

import atoll
from atoll.errors import AlreadyExistsError, InternalError, InvalidArgumentError, NotFoundError
from atoll.frontends.sagemaker.archive import Archive, open_archive
from atoll.frontends.sagemaker.models import EndpointModels, LoadedModel, NotLoadedError


class Told:
    """In a server's place: notes the calls. `leaving`: how often it says that a model has requests to answer."""

    def __init__(self, leaving: int = 0, fails: bool = False):
        self.calls: list[str] = []
        self.leaving = leaving
        self.fails = fails

    def models(self) -> list[object]:
        return []

    def register_model_repository(self, location: str, names: dict[str, str]) -> None:
        self.calls.append(f"register {names}")

    def unregister_model_repository(self, location: str) -> None:
        self.calls.append("unregister")

    def load_model(self, name: str) -> None:
        self.calls.append(f"load {name}")
        if self.fails:
            raise InternalError("CUDA out of memory")

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        self.calls.append(f"unload {name}{' and dependents' if unload_dependents else ''}")

    def is_leaving(self, name: str) -> bool:
        self.leaving -= 1
        return self.leaving >= 0


@pytest.fixture
def archive(tmp_path: Path) -> str:
    write_model(tmp_path / "archive", "folder", 2)
    return str(tmp_path / "archive")


def made(told: Told, leaving_s: float = 60.0) -> EndpointModels:
    return EndpointModels(told, leaving_s)  # type: ignore[arg-type]


def test_a_model_is_registered_loaded_freed_and_forgotten(archive: str) -> None:
    told = Told(leaving=3)
    models = made(told)
    models.load("hash", archive, "target")
    assert models.get("hash") == LoadedModel("hash", archive, "target")
    models.unload("hash")
    assert told.calls == [
        "register {'folder': 'target'}",
        "load target",
        "unload target and dependents",
        "unregister",
    ]
    assert told.leaving == -1, "it waited until the model was gone"
    assert models.get("hash") is None
    assert models.all() == []


def test_a_model_that_does_not_go_is_not_waited_for_any_longer(archive: str) -> None:
    told = Told(leaving=10**9)
    models = made(told, leaving_s=0)
    models.load("hash", archive, "")
    models.unload("hash")
    assert told.calls[-1] == "unregister"


def test_of_a_failed_load_nothing_is_left(archive: str) -> None:
    told = Told(fails=True)
    models = made(told)
    for _ in range(2):
        with pytest.raises(InternalError, match="CUDA out of memory"):
            models.load("hash", archive, "")
    assert told.calls == ["register {'folder': 'hash'}", "load hash", "unregister"] * 2
    with pytest.raises(NotLoadedError):
        models.unload("hash")


def test_a_name_is_loaded_once(archive: str) -> None:
    told = Told()
    models = made(told)
    models.load("hash", archive, "")
    with pytest.raises(AlreadyExistsError, match="has already been loaded from"):
        models.load("hash", archive, "other")
    assert [one.served for one in models.all()] == ["hash"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "\0", "x" * 1_000_000])
def test_impossible_names_are_refused_and_shown_in_short(archive: str, name: str) -> None:
    told = Told()
    with pytest.raises(InvalidArgumentError) as caught:
        made(told).load(name, archive, "target")
    assert len(str(caught.value)) < 400
    assert told.calls == []


@pytest.mark.parametrize(
    "url",
    ["", "relative", "../up", "s3://bucket/x", "/nowhere", "/\0", "/" + "x" * 100_000, "file:///tmp", "/etc/passwd"],
)
def test_what_is_no_folder_here_is_refused(url: str) -> None:
    with pytest.raises(NotFoundError, match="repository not found"):
        open_archive(url, {})


def test_the_ensemble_that_is_no_step_of_another_is_the_model(tmp_path: Path) -> None:
    write_model(tmp_path, "step", 2)
    for name, step in (("inner", "step"), ("outer", "inner")):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(
            f'platform: "ensemble"\nensemble_scheduling {{ step [ {{ model_name: "{step}" model_version: -1 }} ] }}\n'
        )
    assert open_archive(str(tmp_path), {}) == Archive(str(tmp_path), "outer", ("inner", "step"))
    write_model(tmp_path, "another", 3)
    assert open_archive(str(tmp_path), {}).folder == "outer"


def test_several_models_and_no_ensemble_are_refused_by_their_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path, name, 2)
    with pytest.raises(InvalidArgumentError, match=r"holds several models \(a, b\)"):
        open_archive(str(tmp_path), {})


def test_a_model_that_another_repository_serves_is_not_unloaded_with_a_failure(tmp_path: Path) -> None:
    write_model(tmp_path / "first", "m", 2)
    write_model(tmp_path / "archive", "x", 3)
    with atoll.Server(tmp_path / "first", model_control_mode="explicit", load_model=["m"]) as server:
        models = EndpointModels(server)
        with pytest.raises(InternalError, match="model appears in two or more repositories"):
            models.load("m", str(tmp_path / "archive"), "")
        assert server.model_ready("m")
        assert [one.name for one in server.repository_index()] == ["m"]
        server.load_model("m")
