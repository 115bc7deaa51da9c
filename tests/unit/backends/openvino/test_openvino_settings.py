"""What an OpenVINO model's parameters say, before OpenVINO is there."""

from pathlib import Path
from typing import Any

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.error_text import MOST_TEXT
from atoll.backends.openvino.errors import error_text, execution_error
from atoll.backends.openvino.model_file import find_model_file
from atoll.backends.openvino.settings import ModelSettings, find_extension, model_settings
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError, InternalError, InvalidArgumentError


def source(
    root: Path, parameters: dict[str, str] | None = None, settings: dict[str, str] | None = None, **config: Any
) -> ModelSource:
    records = {key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()}
    return ModelSource(
        name="m",
        version=1,
        model_directory=root,
        version_directory=root / "1",
        config=ModelConfig(name="m", backend="openvino", parameters=records, **config),
        settings=settings or {},
    )


def test_nothing_said(tmp_path: Path) -> None:
    assert model_settings(source(tmp_path)) == ModelSettings()


def test_all_that_can_be_said(tmp_path: Path) -> None:
    said = {
        "TARGET_DEVICE": "AUTO:GPU,CPU",
        "CPU_EXTENSION_PATH": "ops.so",
        "HINT_BF16": "YES",
        "SKIP_OV_DYNAMIC_BATCHSIZE": "yes",
        "ENABLE_BATCH_PADDING": "True",
        "RESHAPE_IO_LAYERS": "1",
        "ENABLE_MMAP": "on",
        "COMPILATION_NUM_THREADS": "2",
        "NUM_STREAMS": " 4 ",
        "EMPTY": " ",
        "lower_case": "x",
    }
    assert model_settings(source(tmp_path, said, max_batch_size=4)) == ModelSettings(
        device="AUTO:GPU,CPU",
        extension="ops.so",
        dynamic_batch=False,
        padding=True,
        reshape=True,
        mapped=True,
        properties={"NUM_STREAMS": "4", "INFERENCE_PRECISION_HINT": "bf16", "COMPILATION_NUM_THREADS": "2"},
    )


def test_a_model_wins_over_the_command_line(tmp_path: Path) -> None:
    settings = {"NUM_STREAMS": "2", "TARGET_DEVICE": "GPU", "PERFORMANCE_HINT": "LATENCY"}
    found = model_settings(source(tmp_path, {"NUM_STREAMS": "4", "TARGET_DEVICE": "CPU"}, settings))
    assert found.device == "CPU"
    assert found.properties == {"NUM_STREAMS": "4", "PERFORMANCE_HINT": "LATENCY"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HINT_BF16", "perhaps"),
        ("SKIP_OV_DYNAMIC_BATCHSIZE", "2"),
        ("ENABLE_BATCH_PADDING", "x"),
        ("ENABLE_BATCH_PADDING", "YES"),  # without batches
        ("RESHAPE_IO_LAYERS", "maybe"),
        ("COMPILATION_NUM_THREADS", "many"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_may_be(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"parameter '{key}' of model 'm' is '{value}' but must be "):
        model_settings(source(tmp_path, {key: value}))


def test_an_extension_is_looked_for_beside_the_model(tmp_path: Path) -> None:
    where = source(tmp_path, {"CPU_EXTENSION_PATH": "ops.so"})
    settings = model_settings(where)
    with pytest.raises(ConfigError, match="CPU_EXTENSION_PATH"):
        find_extension(where, settings)
    (tmp_path / "ops.so").touch()
    assert find_extension(where, settings) == tmp_path / "ops.so"
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "ops.so").touch()
    assert find_extension(where, settings) == tmp_path / "1" / "ops.so"
    assert find_extension(where, ModelSettings(extension=str(tmp_path / "ops.so"))) == tmp_path / "ops.so"
    assert find_extension(where, ModelSettings()) is None


def test_the_models_file(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(ConfigError, match=r"unable to find '.*model\.xml' for model 'm'; put the model there"):
        find_model_file(source(tmp_path))
    (tmp_path / "1" / "net.onnx").touch()
    with pytest.raises(ConfigError, match=r'default_model_filename: "net\.onnx"'):
        find_model_file(source(tmp_path))
    assert find_model_file(source(tmp_path, default_model_filename="net.onnx")).name == "net.onnx"
    (tmp_path / "1" / "model.xml").touch()
    assert find_model_file(source(tmp_path)).name == "model.xml"


TEXT = """Exception from src/inference/src/cpp/core.cpp:117:
Exception from src/inference/src/dev/plugin.cpp:54:
Check 'found == 1' failed at src/plugins/here.cpp:12:
Wrong value x for property key Y.

Supported values: a, b
"""


def test_errors_are_told_without_places_in_openvinos_source() -> None:
    assert error_text(RuntimeError(TEXT)) == "Wrong value x for property key Y.; Supported values: a, b"
    only_a_place = "Check 'a' failed at src/b.cpp:1:"
    assert error_text(RuntimeError(only_a_place)) == only_a_place
    assert error_text(RuntimeError("")) == "RuntimeError"
    assert len(error_text(RuntimeError("x" * 100_000))) < MOST_TEXT + 10


def test_an_error_of_an_execution_keeps_its_kind() -> None:
    ours = InvalidArgumentError("an input is wrong")
    assert execution_error(ours) is ours
    other = execution_error(RuntimeError(TEXT))
    assert type(other) is InternalError
    assert str(other) == "openvino error: Wrong value x for property key Y.; Supported values: a, b"
