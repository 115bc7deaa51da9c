"""What config.pbtxt and the command line say of a TensorFlow model."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.tensorflow.settings import ModelSettings, model_settings
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.config.placement import ModelOptimizationPolicy
from atoll.errors import ConfigError


def source(
    parameters: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    folder: Path = Path("/m"),
    level: int | None = None,
) -> ModelSource:
    graph = ModelOptimizationPolicy.Graph(level=level) if level is not None else None
    config = ModelConfig(
        name="m",
        backend="tensorflow",
        parameters={key: ModelParameter(string_value=text) for key, text in (parameters or {}).items()},
        optimization=ModelOptimizationPolicy(graph=graph),
    )
    return ModelSource(
        name="m",
        version=1,
        model_directory=folder,
        version_directory=folder / "1",
        config=config,
        settings=settings or {},
    )


def test_what_nobody_says_is_tensorflows_choice() -> None:
    assert model_settings(source()) == ModelSettings()
    assert ModelSettings().in_callers_thread


def test_tritons_parameters_are_read() -> None:
    texts = {
        "TF_NUM_INTRA_THREADS": "2",
        "TF_NUM_INTER_THREADS": "4",
        "TF_USE_PER_SESSION_THREADS": "1",
        "TF_GRAPH_TAG": "serve, gpu",
        "TF_SIGNATURE_DEF": "predict",
        "MAX_SESSION_SHARE_COUNT": "3",
        "jit_compile": "true",
    }
    wanted = ModelSettings(
        intra_threads=2,
        inter_threads=4,
        per_session_threads=True,
        tags=("serve", "gpu"),
        signature="predict",
        shared_by=3,
        jit_compile=True,
    )
    found = model_settings(source(texts))
    assert found == wanted
    assert not found.in_callers_thread


def test_the_command_line_says_what_counts_for_all_models() -> None:
    found = model_settings(source({}, {"allow-soft-placement": "false", "gpu-memory-fraction": "0.25"}))
    assert (found.allow_soft_placement, found.gpu_memory_fraction) == (False, 0.25)


@pytest.mark.parametrize(("level", "xla"), [(-1, -1), (-9, -1), (0, 0), (1, 1), (2, 2), (7, 2)])
def test_levels_of_the_graph_are_levels_of_xla(level: int, xla: int) -> None:
    assert model_settings(source(level=level)).xla_level == xla


def test_a_version_of_tensorflow_1_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model_settings(source({}, {"version": "2"}))
    assert not caplog.text
    model_settings(source({}, {"version": "1"}))
    assert "models run in TensorFlow 2" in caplog.text


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("TF_NUM_INTRA_THREADS", "-1", "a whole number from 0 to 1024"),
        ("TF_NUM_INTER_THREADS", "2000000", "a whole number from 0 to 1024"),
        ("TF_USE_PER_SESSION_THREADS", "maybe", "true or false"),
        ("jit_compile", "2", "true or false"),
        ("gpu-memory-fraction", "1.5", "a number from 0.0 to 1.0"),
        ("gpu-memory-fraction", "nan", "a number from 0.0 to 1.0"),
        ("gpu-memory-fraction", "much", "a number from 0.0 to 1.0"),
        ("TF_INIT_OPS_FILE", "no_such.json", "a file in '/m/1' or in '/m'"),
    ],
)
def test_a_wrong_value_is_told_with_what_it_may_be(key: str, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        model_settings(source({key: text}))
    assert f"parameter '{key}' of model 'm' is '{text}' but must be {wanted}" in str(refusal.value)


def test_the_versions_file_of_operations_wins(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "init.json").write_text('{"init_ops": ["a"]}')
    wanted = {"TF_INIT_OPS_FILE": "init.json"}
    assert model_settings(source(wanted, folder=tmp_path)).init_ops == ("a",)
    (tmp_path / "1" / "init.json").write_text('{"init_ops": ["b", "c"]}')
    assert model_settings(source(wanted, folder=tmp_path)).init_ops == ("b", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", 'must be a JSON object with the element "init_ops"'),
        ('{"init_ops": "a"}', "must be a JSON object"),
        ('{"init_ops": [1]}', "must be a JSON object"),
        ('{"init_ops": [""]}', "must be a JSON object"),
    ],
)
def test_a_file_of_operations_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "init.json").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        model_settings(source({"TF_INIT_OPS_FILE": "init.json"}, folder=tmp_path))
    assert words in str(refusal.value)
    assert str(tmp_path / "init.json") in str(refusal.value)
