"""Models trained on the spot, and the backends that serve them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atoll.backends.api import Instance, ModelSource, Placement
from atoll.backends.tabular import FilBackend, TabularBackend
from atoll.config.autofill import fill, normalize
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelParameter
from atoll.tensor import BY_PROTOCOL_NAME

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


class TabularModels:
    """Writes models into a repository under the test's own folder, and loads them."""

    def __init__(self, root: Path):
        self.root = root

    def file(self, content: bytes, filename: str, backend: str = "tabular") -> ModelSource:
        directory = self.root / "m"
        (directory / "1").mkdir(parents=True, exist_ok=True)
        (directory / "1" / filename).write_bytes(content)
        config = ModelConfig(name="m", backend=backend, default_model_filename=filename)
        return ModelSource(
            name="m", version=1, model_directory=directory, version_directory=directory / "1", config=config
        )

    def skops(self, model: Any) -> ModelSource:
        import skops.io

        return self.file(skops.io.dumps(model), "model.skops")

    def booster(self, model: Any, filename: str, backend: str = "tabular") -> ModelSource:
        """A model of XGBoost or LightGBM, saved by itself under that name."""
        path = self.root / filename
        (model.booster_ if hasattr(model, "booster_") else model).save_model(path)
        return self.file(path.read_bytes(), filename, backend)

    def configured(
        self,
        source: ModelSource,
        inputs: Tensors | None = None,
        outputs: Tensors | None = None,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> ModelSource:
        """The source with a complete configuration, where these say no more than the user would."""
        config = replace(
            source.config,
            max_batch_size=16,
            parameters={key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()},
            input=tuple(
                ModelInput(name=name, data_type=BY_PROTOCOL_NAME[kind], dims=dims)
                for name, (kind, dims) in (inputs or {}).items()
            ),
            output=tuple(
                ModelOutput(name=name, data_type=BY_PROTOCOL_NAME[kind], dims=dims)
                for name, (kind, dims) in (outputs or {}).items()
            ),
        )
        source = replace(source, config=config, settings=settings or {})
        found = self.backend(source).signature(source)
        return replace(source, config=normalize(fill(config, found), name="m"))

    def backend(self, source: ModelSource) -> TabularBackend | FilBackend:
        return FilBackend() if source.config.backend == "fil" else TabularBackend()

    def instance(self, source: ModelSource, **said: Any) -> Instance:
        source = self.configured(source, **said)
        return self.backend(source).load(source).instance(Placement("m_0"))


@pytest.fixture
def models(tmp_path: Path) -> TabularModels:
    return TabularModels(tmp_path)


@pytest.fixture(scope="session")
def iris() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    rows, labels = load_iris(return_X_y=True)
    return rows.astype(np.float32), labels


@pytest.fixture(scope="session")
def two_classes(iris: tuple[Any, Any]) -> tuple[Any, Any]:
    rows, labels = iris
    return rows, (labels > 1).astype(np.int64)  # the two that no single feature keeps apart


@pytest.fixture(scope="session")
def xgboost_model(iris: tuple[Any, Any], two_classes: tuple[Any, Any]) -> Callable[..., Any]:
    """Trains an XGBoost model of an objective."""

    def train(objective: str, rounds: int = 4, **parameters: Any) -> Any:
        import xgboost

        rows, labels = iris if objective.startswith("multi") else two_classes
        if objective.startswith("multi"):
            parameters["num_class"] = 3
        data = xgboost.DMatrix(rows, labels)
        return xgboost.train({"objective": objective, "nthread": 1, "max_depth": 3, **parameters}, data, rounds)

    return train


@pytest.fixture(scope="session")
def lightgbm_model(iris: tuple[Any, Any], two_classes: tuple[Any, Any]) -> Callable[..., Any]:
    """Trains a LightGBM model of an objective."""

    def train(objective: str, rounds: int = 4, **parameters: Any) -> Any:
        import lightgbm

        rows, labels = iris if objective == "multiclass" else two_classes
        if objective == "multiclass":
            parameters["num_class"] = 3
        data = lightgbm.Dataset(rows, labels)
        return lightgbm.train({"objective": objective, "num_threads": 1, "verbose": -1, **parameters}, data, rounds)

    return train
