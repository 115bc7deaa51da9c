"""Which device a model's sessions are on, and what is said where ONNX Runtime cannot have them there."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from atoll.backends.api import Placement
from atoll.backends.onnxruntime.model import OnnxModel, devices_of
from atoll.backends.onnxruntime.settings import session_settings
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.errors import ConfigError

KIND = ModelInstanceGroup.Kind
HAS_NO_GPU = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


def group(kind: Any, *gpus: int, count: int = 1) -> ModelInstanceGroup:
    return ModelInstanceGroup(kind=kind, gpus=gpus, count=count)


def on(source: Any, *groups: ModelInstanceGroup) -> Any:
    return replace(source, config=replace(source.config, instance_group=groups))


@pytest.mark.parametrize(
    ("groups", "devices"),
    [
        ([], [None]),
        ([group(KIND.KIND_CPU), group(KIND.KIND_CPU)], [None]),
        ([group(KIND.KIND_GPU, 1, 0, count=2), group(KIND.KIND_GPU, 1)], [1, 0]),
        ([group(KIND.KIND_GPU, 3), group(KIND.KIND_CPU)], [3, None]),
        ([group(KIND.KIND_MODEL)], [None]),
    ],
)
def test_devices_of_a_configuration(groups: Any, devices: Any) -> None:
    assert devices_of(ModelConfig(name="m", instance_group=tuple(groups))) == devices


class Made:
    """Sessions on the CPU in the place of any device's, and for which they were made."""

    def __init__(self, source: Any, fails_on: int | None = -1):
        self.path = str(source.version_directory / "model.onnx")
        self.fails_on = fails_on
        self.devices: list[int | None] = []
        self.closed = 0

    def make(self, device: int | None) -> Any:
        if device == self.fails_on:
            raise ConfigError("no memory left there")
        self.devices.append(device)
        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])

    def close(self) -> None:
        self.closed += 1


def test_instances_on_a_device_share_its_session(models: Any) -> None:
    source = on(models.identity("FP32"), group(KIND.KIND_GPU, 0, 1, count=2), group(KIND.KIND_CPU))
    made = Made(source)
    model = OnnxModel(
        onnxruntime, source, source.version_directory / "model.onnx", session_settings(source), made.make, made.close
    )
    assert made.devices == [0, 1, None]
    placements = [Placement(f"m_{number}", "KIND_GPU", number % 2) for number in range(4)]
    first, second, third, fourth = (model.instance(one) for one in placements)
    cpu = model.instance(Placement("m_4"))
    assert first._session is third._session
    assert second._session is fourth._session
    assert len({id(one._session) for one in (first, second, cpu)}) == 3
    assert made.devices == [0, 1, None]
    out = fourth.execute({"IN": np.ones((1, 2), np.float32)}, ["OUT"])
    assert out["OUT"].tolist() == [[1.0, 1.0]]
    for one in (first, second, third, fourth, cpu):
        one.close()
    model.close()
    assert made.closed == 3


def test_a_device_that_fails_takes_the_others_sessions_with_it(models: Any) -> None:
    source = on(models.identity("FP32"), group(KIND.KIND_GPU, 0, 1))
    made = Made(source, fails_on=1)
    with pytest.raises(ConfigError, match="no memory left there"):
        OnnxModel(
            onnxruntime,
            source,
            source.version_directory / "model.onnx",
            session_settings(source),
            made.make,
            made.close,
        )
    assert made.closed == 1


def test_arenas_shrink_where_a_session_is(models: Any, configured: Any) -> None:
    given = {"memory.enable_memory_arena_shrinkage": "cpu:0;gpu:0;gpu:1"}
    settings = session_settings(configured(models.source(), given))
    assert settings.shrinking(None) == "cpu:0"
    assert settings.shrinking(1) == "cpu:0;gpu:1"
    assert settings.shrinking(2) == "cpu:0"


def test_a_session_on_the_cpu_alone_is_bounded(models: Any) -> None:
    assert models.backend.load(models.identity("FP32")).bounded


@pytest.mark.skipif(not HAS_NO_GPU, reason="this ONNX Runtime can use GPUs")
def test_a_package_without_gpus_names_the_one_with(models: Any) -> None:
    found = models.backend.gpu_support(models.identity("FP32"), (0, 1))
    assert found.gpus == ()
    assert "has no CUDAExecutionProvider" in found.missing
    assert "pip install onnxruntime-gpu" in found.missing
    assert "CPUExecutionProvider" in found.missing


@pytest.mark.skipif(not HAS_NO_GPU, reason="this ONNX Runtime can use GPUs")
def test_a_gpu_that_cannot_be_had_is_refused_at_load(models: Any) -> None:
    source = on(models.identity("FP32"), group(KIND.KIND_GPU, 1))
    with pytest.raises(ConfigError, match=r"^model 'm' cannot be on GPU 1: .* onnxruntime-gpu .* kind: KIND_CPU"):
        models.backend.load(source)


def test_a_broken_file_is_not_blamed_on_the_gpu(models: Any) -> None:
    source = on(models.file(b"hello world" * 100), group(KIND.KIND_GPU, 0))
    with pytest.raises(ConfigError, match="not a whole ONNX model"):
        models.backend.signature(source)
