"""What makes a model the one that it is, in the keys of the response cache."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelResponseCache
from atoll.errors import NotFoundError
from atoll.models.response_caching import ResponseCaching, ensemble_identity

CONFIG = ModelConfig(name="m", backend="python", response_cache=ModelResponseCache(enable=True))
Identify = Callable[..., bytes | None]


class Shared:
    """What a shared cache says of itself; nobody asks it anything here."""

    blocks = True
    shared = True


@pytest.fixture
def identify(tmp_path: Path) -> Identify:
    """The identity of version 1 of the model in `folder`, for a cache that others share."""
    caching = ResponseCaching(None, {})
    caching._store = Shared()  # type: ignore[assignment]

    def identity(folder: Path = tmp_path, config: ModelConfig = CONFIG, **more: object) -> bytes | None:
        source = ModelSource("m", 1, folder, folder / "1", config)
        return caching.identity(config, replace(source, **more))()  # type: ignore[arg-type]

    return identity


def write(folder: Path, **files: str) -> Path:
    for name, text in {"1/model.py": "a = 1", **{name.replace("__", "/"): one for name, one in files.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_equal_files_are_the_same_model_wherever_they_lie(tmp_path: Path, identify: Identify) -> None:
    one, other = write(tmp_path / "one", labels="x"), write(tmp_path / "other", labels="x")
    (other / "1" / "__pycache__").mkdir()
    (other / "1" / "__pycache__" / "model.pyc").write_text("compiled")
    (other / "configs").mkdir()
    (other / "configs" / "fast.pbtxt").write_text("")
    (other / "config.pbtxt").write_text("# written otherwise")
    (other / "2").mkdir()
    (other / "2" / "model.py").write_text("another version")
    groups = replace(CONFIG, instance_group=(ModelInstanceGroup(count=3),))
    assert identify(one) == identify(one) == identify(other) == identify(other, groups)


def test_what_makes_another_model(tmp_path: Path, identify: Identify) -> None:
    plain = write(tmp_path / "plain")
    backend = write(tmp_path / "backend", model="b")
    other_backend = write(tmp_path / "other backend", model="c")
    found = [
        identify(plain),
        identify(write(tmp_path / "content", **{"1__model.py": "a = 2"})),
        identify(write(tmp_path / "name", **{"1__note": ""})),
        identify(write(tmp_path / "above", labels="x")),
        identify(write(tmp_path / "other above", labels="y")),
        identify(write(tmp_path / "deep", **{"1__data__labels": "x"})),
        identify(plain, replace(CONFIG, max_batch_size=4)),
        identify(plain, settings={"a": "1"}),
        identify(plain, backend_directory=backend),
        identify(plain, backend_directory=other_backend),
    ]
    assert None not in found
    assert len(set(found)) == len(found)


def test_files_behind_links_count_and_circles_end(tmp_path: Path, identify: Identify) -> None:
    linked = write(tmp_path / "linked")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "w").write_text("1")
    (linked / "1" / "weights").symlink_to(weights)
    (linked / "1" / "again").symlink_to(linked / "1")
    (linked / "1" / "nowhere").symlink_to(tmp_path / "nowhere")
    before = identify(linked)
    assert identify(linked) == before
    (weights / "w").write_text("2")
    assert identify(linked) != before


def test_what_has_no_folder_of_its_own_is_the_one_that_was_loaded(tmp_path: Path, identify: Identify) -> None:
    write(tmp_path)
    assert identify(version_directory=tmp_path) != identify(version_directory=tmp_path)
    uncached = replace(CONFIG, response_cache=None)
    assert identify(config=uncached) != identify(config=uncached)
    caching = ResponseCaching(None, {})  # no shared cache: nothing is read
    source = ModelSource("m", 1, tmp_path, tmp_path / "1", CONFIG)
    assert caching.identity(CONFIG, source)() != caching.identity(CONFIG, source)()
    function = caching.identity(CONFIG, None)
    assert function() == function() != caching.identity(CONFIG, None)()


class Step:
    def __init__(self, identity: bytes | None):
        self.identity = lambda: identity


def test_an_ensemble_is_its_configuration_and_the_models_of_its_steps() -> None:
    models = {"a": Step(b"1"), "b": Step(b"2"), "unknown": Step(None)}

    def find(name: str, version: str) -> Step:
        if name not in models:
            raise NotFoundError(name)
        return models[name]

    one = ensemble_identity(CONFIG, [("a", ""), ("b", "1")], find)
    first = one()
    assert first == one() == ensemble_identity(CONFIG, [("a", ""), ("b", "1")], find)()
    assert ensemble_identity(replace(CONFIG, max_batch_size=1), [("a", ""), ("b", "1")], find)() != first
    models["b"] = Step(b"3")
    assert one() != first
    models["b"] = Step(b"2")
    assert one() == first
    del models["b"]
    assert one() is None
    assert ensemble_identity(CONFIG, [("unknown", "")], find)() is None
