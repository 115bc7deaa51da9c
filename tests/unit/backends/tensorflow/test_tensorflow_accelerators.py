"""Accelerators of TensorFlow models: which there are, and what becomes of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.tensorflow.accelerators import Accelerator, apply_accelerators, read_accelerators
from atoll.config.model_config import ModelConfig
from atoll.config.placement import ModelOptimizationPolicy
from atoll.errors import ConfigError


def source(*gpu: Accelerator, cpu: tuple[Accelerator, ...] = ()) -> ModelSource:
    chosen = ModelOptimizationPolicy.ExecutionAccelerators(gpu_execution_accelerator=gpu, cpu_execution_accelerator=cpu)
    config = ModelConfig(name="m", optimization=ModelOptimizationPolicy(execution_accelerators=chosen))
    folder = Path("/m")
    return ModelSource(name="m", version=1, model_directory=folder, version_directory=folder, config=config)


def session_config() -> Any:
    rewrites = SimpleNamespace(auto_mixed_precision=0)
    return SimpleNamespace(graph_options=SimpleNamespace(rewrite_options=rewrites))


def test_a_model_without_any_has_none() -> None:
    assert read_accelerators(source()) == ()


def test_mixed_precision_is_turned_on_for_a_gpu() -> None:
    config = session_config()
    found = read_accelerators(source(Accelerator(name="auto_mixed_precision")))
    apply_accelerators(found, config, model="m", kind="KIND_GPU")
    assert config.graph_options.rewrite_options.auto_mixed_precision == 1


def test_tensorrt_is_refused_where_tensorflow_has_none() -> None:
    parameters = {"precision_mode": "FP16", "max_cached_engines": "3", "minimum_segment_size": "5"}
    found = read_accelerators(source(Accelerator(name="tensorrt", parameters=parameters)))
    with pytest.raises(ConfigError, match="'tensorrt' needs TensorFlow with TensorRT"):
        apply_accelerators(found, session_config(), model="m", kind="KIND_GPU")


@pytest.mark.parametrize("name", ["auto_mixed_precision", "tensorrt", "gpu_io"])
def test_an_instance_on_a_cpu_goes_without(name: str, caplog: pytest.LogCaptureFixture) -> None:
    config = session_config()
    found = read_accelerators(source(Accelerator(name=name)))
    apply_accelerators(found, config, model="m", kind="KIND_CPU")
    assert f"'{name}' has no effect on an instance on the CPU" in caplog.text
    assert config == session_config()


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        (Accelerator(name="cuda"), "unknown Execution Accelerator 'cuda' is requested"),
        (
            Accelerator(name="tensorrt", parameters={"precision_mode": "FP8"}),
            "unsupported precision mode 'FP8' is requested",
        ),
        (Accelerator(name="tensorrt", parameters={"size": "1"}), "unknown parameter 'size' is provided for TensorRT"),
        (Accelerator(name="tensorrt", parameters={"max_cached_engines": "-1"}), "must be a whole number"),
    ],
)
def test_what_triton_does_not_have_is_refused(accelerator: Accelerator, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_accelerators(source(accelerator))
    assert words in str(refusal.value)


def test_accelerators_for_cpus_are_refused() -> None:
    with pytest.raises(ConfigError, match="CPU Execution Accelerator is not supported in TensorFlow backend"):
        read_accelerators(source(cpu=(Accelerator(name="openvino"),)))
