"""A backend whose models' own code completes their configuration: `complete` and `fail` say what the code does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from atoll.backends import registry
from atoll.backends.api import BackendModel, Capabilities, Instance, ModelSource, Placement
from atoll.config.json_form import to_json
from atoll.config.signature import ModelSignature
from atoll.errors import AtollError
from atoll.testing.fake_backend import FakeInstance


class _Model:
    def instance(self, placement: Placement) -> Instance:
        return FakeInstance(lambda inputs: {"OUT": inputs["IN"] * 2})

    def close(self) -> None:
        pass


class CodedBackend:
    """OUT = 2 * IN. `complete` gets the document that the code is shown, and returns the code's."""

    name = "coded"
    capabilities = Capabilities()
    default_model_filename = "model.coded"
    default_instance_count = 1

    def __init__(self) -> None:
        self.complete: Callable[[dict[str, Any]], Mapping[str, Any] | None] = lambda document: document
        self.error: AtollError | None = None
        self.shown: list[dict[str, Any]] = []
        self.sources: list[ModelSource] = []

    def signature(self, source: ModelSource) -> ModelSignature | None:
        return None

    def auto_complete(self, source: ModelSource) -> Mapping[str, Any] | None:
        self.sources.append(source)
        self.shown.append(to_json(source.config))
        if self.error is not None:
            raise self.error
        return self.complete(to_json(source.config))

    def load(self, source: ModelSource) -> BackendModel:
        self.sources.append(source)
        return _Model()


def install(backend: CodedBackend, site: Path, monkeypatch: pytest.MonkeyPatch, name: str = "coded") -> None:
    """As if a package offered it."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[atoll.backends]\n{name} = nowhere:Backend\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(registry._made, name, backend)


def write_folder(repository: Path, name: str, config: str, files: Sequence[str] = ("model.coded",)) -> Path:
    """A model with a version 1 of these files."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    for file in files:
        (folder / "1" / file).write_text("code")
    (folder / "config.pbtxt").write_text(config)
    return folder


def tensors(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Code that adds an FP32 of four elements in and out, and changes this."""

    def complete(document: dict[str, Any]) -> dict[str, Any]:
        tensor = {"data_type": "TYPE_FP32", "dims": [4]}
        return {**document, "input": [{"name": "IN", **tensor}], "output": [{"name": "OUT", **tensor}], **more}

    return complete
