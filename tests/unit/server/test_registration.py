"""Repositories that are registered while the server runs, and models that are served under other names."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import write_model

import atoll
from atoll.errors import AlreadyExistsError, NotFoundError, UnsupportedError

ONES = np.ones((1, 2), np.float32)


def factor_of(server: atoll.Server, name: str) -> float:
    return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])


def names(server: atoll.Server) -> list[str]:
    return [one.name for one in server.repository_index()]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    write_model(tmp_path / "first", "m", 2)
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    write_model(tmp_path / "second", "extra", 3)
    write_model(tmp_path / "second", "plain", 4)
    return tmp_path / "second"


@pytest.fixture
def server(first: Path) -> Iterator[atoll.Server]:
    with atoll.Server(first, model_control_mode="explicit") as running:
        yield running


def test_the_models_of_a_registered_repository_can_be_loaded(server: atoll.Server, second: Path) -> None:
    with pytest.raises(atoll.InternalError, match="failed to load 'extra', failed to poll from model repository"):
        server.load_model("extra")
    server.register_model_repository(second)
    assert names(server) == ["extra", "m", "plain"]
    server.load_model("extra")
    assert factor_of(server, "extra") == 3


def test_what_is_registered_cannot_be_registered_again(server: atoll.Server, first: Path, second: Path) -> None:
    server.register_model_repository(second)
    for path in (first, second):
        with pytest.raises(AlreadyExistsError, match=f"model repository '{path}' has already been registered"):
            server.register_model_repository(path)


def test_what_is_not_there_cannot_be_registered(server: atoll.Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"failed to register '.*nope', repository not found"):
        server.register_model_repository(tmp_path / "nope")
    with pytest.raises(NotFoundError, match=r"failed to unregister '.*nope', repository not found"):
        server.unregister_model_repository(tmp_path / "nope")


def test_what_was_loaded_stays_until_it_is_unloaded(server: atoll.Server, second: Path) -> None:
    server.register_model_repository(second)
    server.load_model("extra")
    server.unregister_model_repository(second)
    assert names(server) == ["extra", "m"]
    assert factor_of(server, "extra") == 3
    server.unload_model("extra")
    assert names(server) == ["m"]
    with pytest.raises(atoll.InternalError, match="failed to load 'extra'"):
        server.load_model("extra")


def test_of_a_model_that_was_unloaded_first_nothing_stays_either(server: atoll.Server, second: Path) -> None:
    (second / "plain" / "config.pbtxt").write_text("no configuration")
    server.register_model_repository(second)
    server.load_model("extra")
    with pytest.raises(atoll.AtollError):
        server.load_model("plain")
    assert "plain" in server.failures()
    server.unload_model("extra")
    server.unregister_model_repository(second)
    assert names(server) == ["m"]
    assert not server.failures()
    assert not server.is_leaving("extra")


def test_models_are_served_under_the_names_that_they_are_given(server: atoll.Server, second: Path) -> None:
    server.register_model_repository(second, {"extra": "alias"})
    assert names(server) == ["alias", "m", "plain"]
    server.load_model("alias")
    assert factor_of(server, "alias") == 3
    assert server.model("alias").config.name == "alias"
    assert server.infer("alias", {"IN": ONES}).model_name == "alias"
    with pytest.raises(atoll.InternalError, match="failed to load 'extra'"):
        server.load_model("extra")
    server.load_model("plain")
    assert factor_of(server, "plain") == 4


def test_the_name_in_the_configuration_does_not_matter_then(server: atoll.Server, second: Path) -> None:
    config = second / "extra" / "config.pbtxt"
    config.write_text('name: "extra"\n')
    server.register_model_repository(second, {"extra": "alias"})
    server.load_model("alias")
    assert factor_of(server, "alias") == 3
    config.write_text('name: "extra"\nmax_batch_size: 4\n')
    server.load_model("alias")
    assert factor_of(server, "alias") == 3
    assert server.model("alias").config.max_batch_size == 4


def test_a_name_is_given_once(server: atoll.Server, second: Path, tmp_path: Path) -> None:
    server.register_model_repository(second, {"extra": "alias"})
    write_model(tmp_path / "third", "other", 5)
    with pytest.raises(
        AlreadyExistsError, match="failed to register 'alias', there is a conflicting mapping for 'alias'"
    ):
        server.register_model_repository(tmp_path / "third", {"other": "alias"})
    server.unregister_model_repository(second)
    server.register_model_repository(tmp_path / "third", {"other": "alias"})
    server.load_model("alias")
    assert factor_of(server, "alias") == 5


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "\0", "x" * 256])
def test_impossible_names_are_refused(server: atoll.Server, second: Path, name: str) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="a model's name must not"):
        server.register_model_repository(second, {"extra": name})
    assert names(server) == ["m"]


def test_two_folders_cannot_have_one_name(server: atoll.Server, second: Path) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="two folders are given one name"):
        server.register_model_repository(second, {"extra": "alias", "plain": "alias"})


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_only_who_controls_models_registers(first: Path, second: Path, mode: str) -> None:
    with atoll.Server(first, model_control_mode=mode) as server:
        with pytest.raises(UnsupportedError, match="repository registration is not allowed if model control mode"):
            server.register_model_repository(second)
        with pytest.raises(UnsupportedError, match="repository unregistration is not allowed if model control mode"):
            server.unregister_model_repository(first)
