"""Where a version's model file is, and what is said where it is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.model_path import model_path, named_file, operation_libraries
from atoll.config.model_config import ModelConfig, ModelOperations
from atoll.errors import ConfigError


def source(folder: Path, filename: str = "") -> ModelSource:
    return ModelSource("m", 1, folder, folder / "1", ModelConfig(name="m", default_model_filename=filename))


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    return tmp_path / "1"


def test_the_default_and_the_configured_name(version: Path) -> None:
    for name in ("model.onnx", "other.onnx"):
        (version / name).touch()
    assert model_path(source(version.parent), "model.onnx") == version / "model.onnx"
    assert model_path(source(version.parent, "other.onnx"), "model.onnx") == version / "other.onnx"


def test_a_missing_file_is_named(version: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        model_path(source(version.parent), "model.onnx")
    assert str(refusal.value) == (
        f"unable to find '{version / 'model.onnx'}' for model 'm'; put the model there, or name it with "
        "default_model_filename in config.pbtxt"
    )


def test_files_that_may_have_been_meant_are_named(version: Path) -> None:
    for name in ("b.onnx", "a.onnx", "readme.txt"):
        (version / name).touch()
    with pytest.raises(ConfigError, match=r"found a\.onnx, b\.onnx there: rename it to model\.onnx, or set default_"):
        model_path(source(version.parent), "model.onnx")
    with pytest.raises(ConfigError, match=r"found readme\.txt there"):
        model_path(source(version.parent), "model.onnx", suffixes=(".txt",))


def test_few_of_many_are_named(version: Path) -> None:
    for number in range(50):
        (version / f"{number}.onnx").touch()
    with pytest.raises(ConfigError) as refusal:
        model_path(source(version.parent), "model.onnx")
    assert str(refusal.value).count(".onnx") < 8


def test_a_folder_is_no_file_and_a_file_no_folder(version: Path) -> None:
    (version / "model.savedmodel").mkdir()
    path = version / "model.savedmodel"
    with pytest.raises(ConfigError, match=rf"'m' from '{path}': a folder is no model of this backend$"):
        model_path(source(version.parent), "model.savedmodel")
    (path / "saved_model.pb").touch()
    with pytest.raises(ConfigError, match=r'; the folder is a TensorFlow SavedModel: set backend: "tensorflow"'):
        model_path(source(version.parent), "model.savedmodel")
    found = model_path(source(version.parent), "model.savedmodel", is_model=Path.is_dir)
    assert found == version / "model.savedmodel"


def test_a_version_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unable to find"):
        model_path(source(tmp_path / "gone"), "model.onnx")


def test_a_file_that_is_named_is_the_versions_own_or_the_models(version: Path) -> None:
    given = source(version.parent)
    assert named_file(given, "extra.so") is None
    (version.parent / "extra.so").touch()
    assert named_file(given, "extra.so") == version.parent / "extra.so"
    (version / "extra.so").touch()
    assert named_file(given, "extra.so") == version / "extra.so"
    assert named_file(given, "1") is None  # a folder


def test_operation_libraries_are_all_there_or_the_missing_one_is_named(version: Path) -> None:
    given = source(version.parent)
    assert operation_libraries(given) == []
    operations = ModelOperations(op_library_filename=("a.so", "b.so"))
    given = replace(given, config=replace(given.config, model_operations=operations))
    (version / "a.so").touch()
    with pytest.raises(ConfigError, match=r"op_library_filename names 'b\.so', which is neither in '.*/1' nor in "):
        operation_libraries(given)
    (version.parent / "b.so").touch()
    assert operation_libraries(given) == [version / "a.so", version.parent / "b.so"]
