"""The backend "fil": repositories written for Triton's FIL backend, run by XGBoost and LightGBM on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atoll.backends.api import Capabilities, ModelSource
from atoll.backends.parameters import Parameters
from atoll.backends.tabular.backend import TabularModel, load_predictor
from atoll.backends.tabular.model_file import find_model_file, format_of
from atoll.backends.tabular.outputs import Output
from atoll.backends.tabular.predictor import CONTRIBUTIONS, PROBABILITIES, VALUES, Method, Predictor
from atoll.backends.tabular.rows import matrix_rows
from atoll.backends.tabular.settings import tabular_settings
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import Array, DataType

INPUT, OUTPUT, SHAPLEY = "input__0", "output__0", "treeshap_output"
TREELITE = "treelite_checkpoint"
FILES: Mapping[str, str] = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    TREELITE: "checkpoint.tl",
}
"""The values of the parameter `model_type`, and the file of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilSettings:
    """`model_type` is "" where nothing is said. Parameters of FIL that only say how a GPU works are left alone."""

    model_type: str = ""
    output_class: bool = False
    predict_proba: bool = False
    threshold: float = 0.5


class FilBackend:
    """Its own answers are those of the library that trained the model; FIL's parameters say which form they take."""

    name = "fil"
    capabilities = Capabilities(bounded=True)
    default_model_filename = "xgboost.model"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature:
        """FIL's names, with the sizes that the model has. Raises ConfigError naming file and cause."""
        return _FilTensors(source).signature()

    def load(self, source: ModelSource) -> TabularModel:
        """Load the model. Raises ConfigError naming the file, or the key and what it may be."""
        tensors = _FilTensors(source)
        rows = matrix_rows(INPUT, as_floats=True)
        return TabularModel(tensors.signature(), tensors.predictor, rows, tensors.outputs, not tensors.explains)


class _FilTensors:
    def __init__(self, source: ModelSource):
        settings = fil_settings(source)
        source = _with_file(source, settings)
        found = load_predictor(source, replace(tabular_settings(source), best_iteration=False), FILES["xgboost"])
        answer = fil_method(found, settings)
        self.predictor = replace(found, methods={**found.methods, OUTPUT: answer})
        row = np.zeros((1, found.features), np.float32)
        self.explains = any(one.name == SHAPLEY for one in source.config.output)
        self.outputs = [Output(OUTPUT, OUTPUT, DataType.FP32, answer(row).shape[1:])]
        if self.explains:
            width = found.methods[CONTRIBUTIONS](row).shape[1:]
            self.outputs.append(Output(SHAPLEY, CONTRIBUTIONS, DataType.FP32, width))

    def signature(self) -> ModelSignature:
        shape = (-1, self.predictor.features)
        return ModelSignature(
            inputs=(TensorSignature(name=INPUT, data_type=DataType.FP32, shape=shape),),
            outputs=tuple(
                TensorSignature(name=one.name, data_type=one.data_type, shape=(-1, *(one.width or ())))
                for one in self.outputs
            ),
            batching=True,
        )


def fil_settings(source: ModelSource) -> FilSettings:
    """Read FIL's parameters. Raises ConfigError naming the key and what it may be."""
    parameters = Parameters(source)
    return FilSettings(
        model_type=parameters.choice("model_type", FILES),
        output_class=parameters.switch("output_class"),
        predict_proba=parameters.switch("predict_proba"),
        threshold=parameters.decimal("threshold", "a number", default=0.5),
    )


def fil_method(predictor: Predictor, settings: FilSettings) -> Method:
    """What output__0 is of. Rows of one number, or with predict_proba, or where the model itself gives several, of one
    for each class.
    """
    values = predictor.methods[VALUES]
    probabilities = predictor.methods.get(PROBABILITIES)

    def several(rows: Array) -> Array:
        if probabilities is not None:
            return _two_dimensions(probabilities(rows))
        found = _two_dimensions(values(rows))
        return np.concatenate([1 - found, found], axis=1) if found.shape[1] == 1 else found

    def chosen(rows: Array) -> Array:
        found = several(rows)
        classes: Array = found[:, 1] > settings.threshold if found.shape[1] == 2 else found.argmax(axis=1)
        return _two_dimensions(classes.astype(np.float32))

    if settings.predict_proba:
        return several
    return chosen if settings.output_class else lambda rows: _two_dimensions(values(rows))


def _two_dimensions(found: Any) -> Array:
    rows: Array = found.reshape(len(found), -1)
    return rows


def _with_file(source: ModelSource, settings: FilSettings) -> ModelSource:
    """The source with the file that is meant. Raises ConfigError where there is none, or none that is read here."""
    named = source.config.default_model_filename
    wanted = FILES.get(settings.model_type, "")
    if not named or (wanted and not (source.version_directory / named).is_file()):
        named = wanted or next((one for one in FILES.values() if (source.version_directory / one).is_file()), "")
    named = named or FILES["xgboost"]
    source = replace(source, config=replace(source.config, default_model_filename=named))
    path = find_model_file(source, named)
    if settings.model_type == TREELITE or named == FILES[TREELITE]:
        raise ConfigError(
            f"model '{source.name}': '{path}' is a checkpoint of Treelite, which is not read here; serve the file of "
            "XGBoost or LightGBM that it was made from (model_type: xgboost_json, xgboost_ubj or lightgbm), or save a "
            "forest of scikit-learn with skops for the tabular backend"
        )
    library = format_of(path)
    if library not in ("", "xgboost", "lightgbm"):
        raise ConfigError(
            f"model '{source.name}': '{path}' is a file of {library}, which the backend fil does not read; set "
            'backend: "tabular" in config.pbtxt'
        )
    expected = "lightgbm" if settings.model_type == "lightgbm" else "xgboost"
    if settings.model_type and library and library != expected:
        raise ConfigError(
            f"parameter 'model_type' of model '{source.name}' is '{settings.model_type}', but '{path}' is a model of "
            f"{library}; set model_type to '{'lightgbm' if library == 'lightgbm' else 'xgboost_json'}'"
        )
    return source
