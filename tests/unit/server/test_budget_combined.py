"""A memory budget together with everything else that brings and takes models."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll
from atoll.models.catalog import ModelKey
from atoll.models.control import ModelControl
from atoll.models.loader import Loader
from atoll.models.model import Model

ONES = np.ones((1, 2), np.float32)
MIB = 1 << 20
COUNT = 5


def factor_of(server: atoll.Server, name: str) -> float:
    return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for number in range(COUNT):
        write_model(tmp_path, f"m{number}", number + 1, weight_bytes=8 * MIB)
    return tmp_path


def explicit(repository: Path, **options: Any) -> atoll.Server:
    return atoll.Server(repository, model_memory_budget="34MiB", model_control_mode="explicit", **options)


def use_all_but(server: atoll.Server, name: str) -> None:
    for number in range(COUNT):
        if f"m{number}" != name:
            server.load_model(f"m{number}")
            assert factor_of(server, f"m{number}") == number + 1


def test_a_load_finds_what_changed_in_the_repository(repository: Path) -> None:
    with explicit(repository) as server:
        server.load_model("m0")
        assert factor_of(server, "m0") == 1
        replace_file(repository / "m0" / "1" / "model.onnx", scale_model(9, weight_bytes=8 * MIB))
        server.load_model("m0")
        assert factor_of(server, "m0") == 9


@pytest.mark.slow
def test_an_override_stays_until_the_model_is_loaded_without(repository: Path) -> None:
    with explicit(repository) as server:
        server.load_model("m0", config=json.dumps({"max_batch_size": 3}))
        use_all_but(server, "m0")
        assert sum(model.memory_bytes for model in server.models()) <= 34 * MIB
        assert factor_of(server, "m0") == 1
        assert server.model("m0").config.max_batch_size == 3
        server.load_model("m0")
        assert server.model("m0").config.max_batch_size != 3


@pytest.mark.slow
def test_a_model_that_came_with_its_files_stays(repository: Path) -> None:
    with explicit(repository) as server:
        server.load_model("guest", config="{}", files={"1/model.onnx": scale_model(7, weight_bytes=8 * MIB)})
        use_all_but(server, "guest")
        assert factor_of(server, "guest") == 7
        assert sum(model.memory_bytes for model in server.models()) <= 34 * MIB


def test_overrides_make_room_for_themselves(repository: Path) -> None:
    with explicit(repository) as server:
        use_all_but(server, "m0")
        server.load_model("m0", config="{}")
        assert sum(model.memory_bytes for model in server.models()) <= 34 * MIB
        assert factor_of(server, "m0") == 1


def test_an_explicit_load_that_fails_says_so_in_the_same_words(repository: Path) -> None:
    with explicit(repository) as server:
        server.load_model("m0")
        replace_file(repository / "m0" / "1" / "model.onnx", b"garbage")
        with pytest.raises(atoll.ConfigError, match="load failed for model 'm0'"):
            server.load_model("m0")
        assert factor_of(server, "m0") == 1
        with pytest.raises(atoll.AtollError, match="failed to load 'nope', failed to poll from model repository"):
            server.load_model("nope")


def test_models_are_measured_one_at_a_time(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Loader._build
    inside: list[int] = []
    most: list[int] = []

    def counted(self: Loader, *given: Any) -> Model:
        inside.append(1)
        most.append(len(inside))
        try:
            threading.Event().wait(0.05)
            return build(self, *given)
        finally:
            inside.pop()

    monkeypatch.setattr(Loader, "_build", counted)
    with explicit(repository) as server:
        threads = [
            threading.Thread(target=server.load_model, args=(f"m{number}",), kwargs={"config": config})
            for number, config in enumerate(["", "{}", ""])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [factor_of(server, f"m{number}") for number in range(3)] == [1, 2, 3]
    assert max(most) == 1


def test_an_unload_is_not_undone_by_an_eviction(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with explicit(repository) as server:
        server.load_model("m0")
        unload = ModelControl.unload

        def raced(self: ModelControl, name: str, **options: Any) -> None:
            self.unload_key(ModelKey(name), asleep=True)  # others need the room, just now
            unload(self, name, **options)

        monkeypatch.setattr(ModelControl, "unload", raced)
        server.unload_model("m0")
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m0")


def test_an_unload_is_not_undone_by_a_request_that_waited(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with explicit(repository) as server:
        server.load_model("m0")
        server._fleet._control.unload_key(ModelKey("m0"), asleep=True)
        load_turn = ModelControl.load_turn

        def raced(self: ModelControl, *given: Any, **options: Any) -> None:
            server.unload_model("m0")
            load_turn(self, *given, **options)

        monkeypatch.setattr(ModelControl, "load_turn", raced)
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m0")
        assert not server.models()


@pytest.mark.slow
def test_a_name_of_two_namespaces_stays_ambiguous(tmp_path: Path) -> None:
    write_model(tmp_path / "a", "twin", 2, weight_bytes=8 * MIB)
    write_model(tmp_path / "b", "twin", 3, weight_bytes=8 * MIB)
    for number in range(COUNT):
        write_model(tmp_path / "b", f"m{number}", number + 1, weight_bytes=8 * MIB)
    with atoll.Server([tmp_path / "a", tmp_path / "b"], model_namespacing=True, model_memory_budget="34MiB") as server:
        for number in range(COUNT):
            with pytest.raises(atoll.InvalidArgumentError, match="There are 2 identifiers of model 'twin'"):
                factor_of(server, "twin")
            assert factor_of(server, f"m{number}") == number + 1
