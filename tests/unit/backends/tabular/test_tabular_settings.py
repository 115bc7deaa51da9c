"""What is said about tabular models, and what outputs are of; no library is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atoll.backends.api import ModelSource
from atoll.backends.tabular.fil import FilSettings, fil_settings
from atoll.backends.tabular.outputs import default_outputs, giving, method_of, plain, served_types
from atoll.backends.tabular.rows import column_rows, matrix_rows
from atoll.backends.tabular.settings import tabular_settings
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError, InvalidArgumentError
from atoll.tensor import DataType


def source(settings: dict[str, str] | None = None, **parameters: str) -> ModelSource:
    records = {key: ModelParameter(string_value=value) for key, value in parameters.items()}
    config = ModelConfig(name="m", backend="tabular", parameters=records)
    return ModelSource("m", 1, Path(), Path(), config, settings or {})


def test_settings() -> None:
    found = tabular_settings(source(threads="3", outputs="A=predict, B = margin", iteration_range="2, 7"))
    assert (found.threads, found.methods, found.iterations) == (3, {"A": "predict", "B": "margin"}, (2, 7))
    found = tabular_settings(source())
    assert (found.threads, found.methods, found.iterations, found.best_iteration) == (1, {}, None, True)
    assert (found.trusted_types, found.pickles) == ((), False)
    found = tabular_settings(source({"trusted-types": "a.B; c.D", "allow-pickle": "true"}))
    assert (found.trusted_types, found.pickles) == (("a.B", "c.D"), True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("threads", "0"), ("outputs", "A"), ("outputs", "=b"), ("iteration_range", "5,5"), ("iteration_range", "1")],
)
def test_wrong_values_are_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"parameter '{key}' of model 'm' is '{value}' but must be"):
        tabular_settings(source(**{key: value}))


def test_fils_parameters() -> None:
    assert fil_settings(source()) == FilSettings()
    found = fil_settings(source(model_type="LightGBM", output_class="True", predict_proba="1", threshold=" 0.25 "))
    assert found == FilSettings(model_type="lightgbm", output_class=True, predict_proba=True, threshold=0.25)
    for text in ("nan", "inf", "x"):
        with pytest.raises(ConfigError, match="must be a number"):
            fil_settings(source(threshold=text))


def test_default_outputs() -> None:
    assert default_outputs(["predict", "predict_proba", "decision_function"]) == [
        ("LABEL", "predict"),
        ("PROBABILITIES", "predict_proba"),
    ]
    assert default_outputs(["predict", "decision_function"]) == [
        ("LABEL", "predict"),
        ("DECISION", "decision_function"),
    ]
    assert default_outputs(["transform"]) == [("TRANSFORMED", "transform")]


def test_what_an_output_is_of() -> None:
    methods = ("predict", "predict_proba")
    assert method_of("label", {}, methods, "") == "predict"
    assert method_of("Predict_Proba", {}, methods, "") == "predict_proba"
    assert method_of("LABEL", {"LABEL": "margin"}, methods, "") == "margin"
    assert method_of("score", {}, methods, "predict") == "predict"
    assert method_of("score", {}, methods, "") is None
    assert method_of("MARGIN", {}, methods, "") is None


def test_types_in_which_results_are_served() -> None:
    assert served_types("f")[0] is DataType.FP32
    assert served_types("i")[0] is DataType.INT64
    assert served_types("b")[0] is DataType.BOOL
    assert served_types("U") == (DataType.BYTES,)
    assert served_types("c") == ()
    assert giving(lambda rows: np.array([1.0, 2.0]), DataType.FP32)(None).tolist() == [[1.0], [2.0]]
    assert giving(lambda rows: np.array(["a", "ß"]), DataType.BYTES)(None).tolist() == [[b"a"], ["ß".encode()]]
    with pytest.raises(TypeError, match="several arrays"):
        plain([np.zeros(2), np.zeros(2)])


def strings(*values: bytes) -> Any:
    array = np.empty((len(values), 1), np.object_)
    array[:, 0] = values
    return array


def test_rows_from_one_input_and_from_columns() -> None:
    sent = np.ones((2, 3), np.float64)
    assert matrix_rows("x", as_floats=True)({"x": sent}) is sent
    assert matrix_rows("x", as_floats=True)({"x": sent.astype(np.int32)}).dtype == np.float32
    assert matrix_rows("x", as_floats=False)({"x": sent.astype(np.int32)}).dtype == np.int32
    columns = {"b": np.array([[1], [2]]), "a": np.array([[0.5], [1.5]], np.float32)}
    assert column_rows(["a", "b"], as_floats=False)(columns).tolist() == [[0.5, 1.0], [1.5, 2.0]]
    mixed = column_rows(["b", "s"], as_floats=False)({**columns, "s": strings(b"x", "ü".encode())})
    assert mixed.tolist() == [[1, "x"], [2, "ü"]]
    table = column_rows(["a", "b"], as_floats=False, make_table=dict)(columns)
    assert {name: one.tolist() for name, one in table.items()} == {"a": [0.5, 1.5], "b": [1, 2]}
    with pytest.raises(InvalidArgumentError, match="input 's' must be UTF-8"):
        column_rows(["s"], as_floats=False)({"s": strings(b"\xff")})
