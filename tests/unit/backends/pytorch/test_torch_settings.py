"""The parameters of the PyTorch backend."""

from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.pytorch.settings import ModelSettings, model_settings
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError


def options(settings: dict[str, str] | None = None, **parameters: str) -> ModelSettings:
    written = {key: ModelParameter(string_value=value) for key, value in parameters.items()}
    config = ModelConfig(name="m", backend="pytorch", parameters=written)
    path = Path("/models/m")
    return model_settings(
        ModelSource(
            name="m", version=1, model_directory=path, version_directory=path / "1", config=config,
            settings=settings or {},
        )
    )  # fmt: skip


def test_what_nobody_says() -> None:
    assert options() == ModelSettings()
    assert options(SOMETHING="else") == ModelSettings()


def test_tritons_names() -> None:
    found = options(
        DISABLE_OPTIMIZED_EXECUTION="true",
        INFERENCE_MODE="false",
        ENABLE_NVFUSER="true",
        ENABLE_TENSOR_FUSER="0",
        ENABLE_JIT_EXECUTOR="false",
        ENABLE_JIT_PROFILING="TRUE",
        ENABLE_WEIGHT_SHARING="true",
        ENABLE_CACHE_CLEANING="1",
        DISABLE_CUDNN="true",
        INTER_OP_THREAD_COUNT="2",
        INTRA_OP_THREAD_COUNT="3",
    )
    assert found == ModelSettings(
        inference_mode=False,
        optimized_execution=False,
        share_weights=True,
        clean_cache=True,
        cudnn=False,
        intra_op_threads=3,
        inter_op_threads=2,
        process_switches={
            "ENABLE_JIT_EXECUTOR": False,
            "ENABLE_JIT_PROFILING": True,
            "ENABLE_TENSOR_FUSER": False,
        },
        without_effect=("ENABLE_NVFUSER",),
    )


def test_the_names_of_thread_counts_for_a_model_py() -> None:
    found = options(NUM_THREADS="4", NUM_INTEROP_THREADS="5")
    assert (found.intra_op_threads, found.inter_op_threads) == (4, 5)


@pytest.mark.parametrize(
    ("parameters", "compiled"),
    [
        ({}, None),
        ({"TORCH_COMPILE": "true"}, {}),
        ({"TORCH_COMPILE_OPTIONAL_PARAMETERS": '{"mode": "max-autotune"}'}, {"mode": "max-autotune"}),
        ({"TORCH_COMPILE_OPTIONAL_PARAMETERS": '{"disable": true}'}, None),
        ({"TORCH_COMPILE": "false", "TORCH_COMPILE_OPTIONAL_PARAMETERS": '{"dynamic": true}'}, None),
    ],
)
def test_compilation(parameters: dict[str, str], compiled: object) -> None:
    assert options(**parameters).compile == compiled


@pytest.mark.parametrize("text", ["{", "[]", '"mode"', '{"model": 1}', "[" * 100_000, "NaN"])
def test_compilation_with_something_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"'TORCH_COMPILE_OPTIONAL_PARAMETERS' .* must be a JSON object with some of"):
        options(TORCH_COMPILE_OPTIONAL_PARAMETERS=text)


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("INFERENCE_MODE", "perhaps", "must be true or false"),
        ("AUTOCAST", "fp8", "must be one of bf16, fp16"),
        ("INTRA_OP_THREAD_COUNT", "-1", "must be a whole number from 0 to 1024"),
        ("INTER_OP_THREAD_COUNT", "1e9", "must be a whole number from 0 to 1024"),
        ("ENABLE_NVFUSER", "2", "must be true or false"),
    ],
)
def test_wrong_values_are_refused(key: str, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as refusal:
        options(**{key: text})
    assert key in str(refusal.value)


def test_pickles_are_the_operators_to_allow() -> None:
    assert options({"allow-pickle": "true"}).allow_pickle
    assert not options(**{"allow-pickle": "true"}).allow_pickle
