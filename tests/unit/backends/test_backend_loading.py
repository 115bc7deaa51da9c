"""A loaded model's own word on its tensors is held against the configuration."""

from pathlib import Path
from typing import Any, cast

import pytest

from atoll.backends.api import Backend, ModelSource
from atoll.backends.loading import load_model
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import DataType


class Loaded:
    def __init__(self, signature: ModelSignature | None):
        self.signature = signature
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Loads:
    def __init__(self, model: Any):
        self.model = model

    def load(self, source: ModelSource) -> Any:
        return self.model


class LoadedBackend:
    """A model that is its own backend, whose `signature` is the method."""

    def __init__(self) -> None:
        self.closed = 0

    def signature(self, source: ModelSource) -> None:
        """Nobody asks a loaded model."""


def tensors(output: str) -> ModelSignature:
    made = [TensorSignature(name=name, data_type=DataType.FP32, shape=(-1, 2)) for name in ("IN", output)]
    return ModelSignature(inputs=(made[0],), outputs=(made[1],))


def load(model: Any) -> Any:
    config = ModelConfig(
        name="m",
        max_batch_size=4,
        input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(2,)),),
        output=(ModelOutput(name="OUT", data_type=DataType.FP32, dims=(2,)),),
    )
    return load_model(cast(Backend, Loads(model)), ModelSource("m", 1, Path("m"), Path("m/1"), config))


@pytest.mark.parametrize("model", [Loaded(tensors("OUT")), Loaded(None), LoadedBackend(), object()])
def test_a_model_that_agrees_or_says_nothing_is_taken(model: Any) -> None:
    assert load(model) is model
    assert getattr(model, "closed", 0) == 0


def test_a_model_that_disagrees_is_closed_and_both_sides_are_named() -> None:
    model = Loaded(tensors("RESULT"))
    with pytest.raises(ConfigError, match="unexpected inference output 'OUT', allowed outputs are: RESULT"):
        load(model)
    assert model.closed == 1
