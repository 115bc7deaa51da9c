"""Optimized graphs are made once, and again where anything that they depend on has changed."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from atoll.backends.api import Placement
from atoll.backends.onnxruntime import optimized_models
from atoll.config.model_config import ModelOptimizationPolicy
from atoll.errors import ConfigError

ONES = {"X": np.ones((1, 2), np.float32)}


def scaled(models: Any, factor: float, name: str = "m") -> Any:
    """X * (factor + 1), of which ONNX Runtime makes one node instead of three."""
    return models.write(
        [
            helper.make_node("Add", ["F", "ONE"], ["SUM"]),
            helper.make_node("Identity", ["X"], ["SAME"]),
            helper.make_node("Mul", ["SAME", "SUM"], ["Y"]),
        ],
        [models.value("X", "FP32", ["n", 2])],
        [models.value("Y", "FP32", ["n", 2])],
        [
            numpy_helper.from_array(np.array([factor], np.float32), "F"),
            numpy_helper.from_array(np.array([1], np.float32), "ONE"),
        ],
        name=name,
    )


class Folder:
    def __init__(self, directory: Path, models: Any):
        self.directory = directory
        self.models = models
        self.settings = {"optimized-model-cache-directory": str(directory)}

    def entries(self) -> list[Path]:
        return sorted(self.directory.glob("*.onnx"))

    def answer(self, source: Any) -> list[float]:
        """The model's answer to ones, loaded with the folder."""
        model = self.models.backend.load(replace(source, settings={**self.settings, **source.settings}))
        out: list[float] = model.instance(Placement("m_0")).execute(ONES, ["Y"])["Y"][0].tolist()
        model.close()
        return out

    def poison(self) -> None:
        """Put another model into the only entry's place, under a name that is true: whoever uses it is seen."""
        (entry,) = self.entries()
        content = scaled(self.models, 99, name="poison").version_directory.joinpath("model.onnx").read_bytes()
        entry.write_bytes(content)
        digest = optimized_models._content_digest(entry)[:32]
        entry.rename(entry.with_name(f"{entry.stem.partition('-')[0]}-{digest}.onnx"))


@pytest.fixture
def folder(tmp_path: Path, models: Any) -> Folder:
    return Folder(tmp_path / "kept" / "here", models)


def test_a_graph_is_optimized_once_and_used_after_that(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    assert folder.answer(source) == [3.0, 3.0]
    (entry,) = folder.entries()
    assert [node.op_type for node in onnx.load(entry).graph.node] == ["Mul"]
    assert folder.answer(source) == [3.0, 3.0]
    assert folder.entries() == [entry]
    folder.poison()
    assert folder.answer(source) == [100.0, 100.0]  # so it was the entry that was loaded


def test_nothing_is_left_but_entries_and_digests(folder: Folder) -> None:
    folder.answer(scaled(folder.models, 2))
    assert {one.suffix for one in folder.directory.iterdir()} <= {".onnx", ".digest"}


def test_the_same_content_elsewhere_is_the_same_entry(folder: Folder) -> None:
    content = scaled(folder.models, 2).version_directory.joinpath("model.onnx").read_bytes()
    folder.answer(folder.models.source("m"))
    folder.poison()
    assert folder.answer(folder.models.file(content, name="other")) == [100.0, 100.0]


def test_another_content_is_another_entry(folder: Folder) -> None:
    assert folder.answer(scaled(folder.models, 2)) == [3.0, 3.0]
    assert folder.answer(scaled(folder.models, 3)) == [4.0, 4.0]
    assert len(folder.entries()) == 2


def test_content_that_changes_under_the_same_size_and_time_is_seen(folder: Folder, monkeypatch: Any) -> None:
    monkeypatch.setattr(optimized_models, "_SETTLED_S", -1)  # digests are remembered at once
    source = scaled(folder.models, 2)
    path = source.version_directory / "model.onnx"
    before = path.stat()
    assert folder.answer(source) == [3.0, 3.0]
    assert list(folder.directory.glob("*.digest"))
    scaled(folder.models, 3)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert folder.answer(source) == [4.0, 4.0]


def test_another_version_of_onnx_runtime_or_processor_is_another_entry(folder: Folder, monkeypatch: Any) -> None:
    source = scaled(folder.models, 2)
    folder.answer(source)
    monkeypatch.setattr("onnxruntime.__version__", "99.0")
    folder.answer(source)
    assert len(folder.entries()) == 2
    monkeypatch.setattr(optimized_models, "_processor", lambda: ["another"])
    folder.answer(source)
    assert len(folder.entries()) == 3


def test_other_options_are_another_entry_and_other_threads_are_not(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    folder.answer(source)
    for settings in ({"intra_op_thread_count": "1"}, {"session.intra_op.allow_spinning": "0"}):
        folder.answer(replace(source, settings=settings))
    assert len(folder.entries()) == 1
    folder.answer(replace(source, settings={"optimization.enable_gelu_approximation": "1"}))
    assert len(folder.entries()) == 2


def test_a_graph_that_is_not_to_be_optimized_is_not_kept(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    policy = ModelOptimizationPolicy(graph=ModelOptimizationPolicy.Graph(level=2))
    folder.answer(replace(source, config=replace(source.config, optimization=policy)))
    assert not folder.entries()


@pytest.mark.parametrize("damage", ["cut", "emptied", "replaced", "a bit"])
def test_a_damaged_entry_is_made_again(folder: Folder, damage: str, caplog: Any) -> None:
    source = scaled(folder.models, 2)
    folder.answer(source)
    (entry,) = folder.entries()
    content = entry.read_bytes()
    changed = {
        "cut": content[:-20],
        "emptied": b"",
        "replaced": scaled(folder.models, 99, name="x").version_directory.joinpath("model.onnx").read_bytes(),
        "a bit": content.replace(np.float32(3).tobytes(), np.float32(5).tobytes()),
    }[damage]
    assert changed != content
    entry.write_bytes(changed)
    assert folder.answer(source) == [3.0, 3.0]
    assert "is not what was written there" in caplog.text
    (again,) = folder.entries()
    assert again.read_bytes() == content


def test_an_entry_that_onnx_runtime_does_not_take_is_made_again(folder: Folder, caplog: Any) -> None:
    source = scaled(folder.models, 2)
    folder.answer(source)
    (entry,) = folder.entries()
    entry.write_bytes(b"from somewhere else")
    digest = optimized_models._content_digest(entry)[:32]
    entry.rename(entry.with_name(f"{entry.stem.partition('-')[0]}-{digest}.onnx"))
    assert folder.answer(source) == [3.0, 3.0]
    assert "its optimized graph is made again" in caplog.text
    folder.poison()
    assert folder.answer(source) == [100.0, 100.0]


def test_loads_at_the_same_time(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    answers: list[list[float]] = []
    threads = [threading.Thread(target=lambda: answers.append(folder.answer(source))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [[3.0, 3.0]] * 8
    assert len(folder.entries()) == 1
    assert {one.suffix for one in folder.directory.iterdir()} <= {".onnx", ".digest"}


def test_models_with_external_data_are_loaded_without_the_folder(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    path = source.version_directory / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert folder.answer(source) == [3.0, 3.0]
    assert not folder.entries()
    (source.version_directory / "weights.bin").write_bytes(np.array([7, 1], np.float32).tobytes())
    assert folder.answer(source) == [8.0, 8.0]


def test_a_file_beside_the_model_that_it_does_not_name_is_no_hindrance(folder: Folder) -> None:
    source = scaled(folder.models, 2)
    (source.version_directory / "labels.txt").write_text("a\n")
    folder.answer(source)
    assert len(folder.entries()) == 1


def test_the_oldest_entries_go_when_there_is_no_room(folder: Folder) -> None:
    folder.settings["optimized-model-cache-byte-size"] = str(3 * 4096)
    for factor in range(1, 7):
        assert folder.answer(scaled(folder.models, factor)) == [factor + 1.0] * 2
        assert 1 <= len(folder.entries()) <= 3
    assert folder.answer(scaled(folder.models, 6)) == [7.0, 7.0]


@pytest.fixture
def sealed(folder: Folder) -> Iterator[Path]:
    folder.directory.mkdir(parents=True)
    folder.directory.chmod(0o500)
    yield folder.directory
    folder.directory.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_costs_the_keeping_alone(folder: Folder, sealed: Path, caplog: Any) -> None:
    assert folder.answer(scaled(folder.models, 2)) == [3.0, 3.0]
    assert "its optimized graph is not kept" in caplog.text


def test_a_full_disk_costs_the_keeping_alone(folder: Folder, monkeypatch: Any, caplog: Any) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(optimized_models, "mkdtemp", full)
    assert folder.answer(scaled(folder.models, 2)) == [3.0, 3.0]
    assert "its optimized graph is not kept: [Errno 28]" in caplog.text


def test_a_folder_that_cannot_be_made_is_named_with_the_setting(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder.settings["optimized-model-cache-directory"] = str(tmp_path / "file" / "x")
    with pytest.raises(ConfigError, match=r"^--backend-config=onnxruntime,optimized-model-cache-directory=/.*file/x"):
        folder.answer(scaled(folder.models, 2))


def test_a_wrong_size_is_named_with_the_setting(folder: Folder) -> None:
    folder.settings["optimized-model-cache-byte-size"] = "lots"
    with pytest.raises(ConfigError, match="optimized-model-cache-byte-size=lots is 'lots' but must be a whole number"):
        folder.answer(scaled(folder.models, 2))


def test_a_model_cannot_choose_the_folder_itself(folder: Folder, configured: Any, tmp_path: Path) -> None:
    source = configured(scaled(folder.models, 2), {"optimized-model-cache-directory": str(tmp_path / "own")})
    folder.models.backend.load(source).close()
    assert not (tmp_path / "own").exists()
