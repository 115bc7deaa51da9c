"""Repositories of Triton's FIL backend: its names, files, parameters and shapes, with the libraries' own numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atoll.backends.api import ModelSource
from atoll.backends.loading import load_model
from atoll.backends.registry import find_backend
from atoll.backends.tabular import FilBackend
from atoll.errors import ConfigError
from atoll.server import Server

INPUTS = {"input__0": ("FP32", (4,))}


def answer(models: Any, source: Any, rows: Any, width: int, **parameters: str) -> Any:
    instance = models.instance(source, inputs=INPUTS, outputs={"output__0": ("FP32", (width,))}, parameters=parameters)
    out = instance.execute({"input__0": rows}, ["output__0"])["output__0"]
    assert out.dtype == np.float32
    assert out.shape == (len(rows), width)
    return out


def test_the_entry_point_leads_to_it() -> None:
    assert isinstance(find_backend("fil"), FilBackend)


Trained = Callable[[str, str, Any], tuple[ModelSource, Any]]


@pytest.fixture
def trained(models: Any, xgboost_model: Any, lightgbm_model: Any) -> Trained:
    """A model of an objective in a file of that name, and what its library itself says of rows."""

    def train(objective: str, filename: str, rows: Any) -> tuple[ModelSource, Any]:
        if filename == "model.txt":
            model = lightgbm_model(objective)
            return models.booster(model, filename, "fil"), model.predict(rows).astype(np.float32)
        import xgboost

        model = xgboost_model(objective)
        return models.booster(model, filename, "fil"), model.predict(xgboost.DMatrix(rows))

    return train


@pytest.mark.parametrize(
    ("objective", "filename", "model_type"),
    [("binary:logistic", "xgboost.json", "xgboost_json"), ("binary", "model.txt", "lightgbm")],
)
def test_two_classes(models: Any, trained: Trained, iris: Any, objective: str, filename: str, model_type: str) -> None:
    rows, said = iris[0][::7], {"model_type": model_type}
    source, direct = trained(objective, filename, rows)
    np.testing.assert_allclose(answer(models, source, rows, 1, **said).ravel(), direct, rtol=1e-6)
    both = answer(models, source, rows, 2, predict_proba="true", output_class="true", **said)
    np.testing.assert_allclose(both, np.stack([1 - direct, direct], axis=1), rtol=1e-5, atol=1e-7)
    chosen = answer(models, source, rows, 1, output_class="true", **said)
    np.testing.assert_array_equal(chosen.ravel(), (direct > 0.5).astype(np.float32))
    threshold = float(np.unique(direct)[-2:].mean())  # between the two largest
    strict = answer(models, source, rows, 1, output_class="true", threshold=str(threshold), **said)
    np.testing.assert_array_equal(strict.ravel(), (direct > threshold).astype(np.float32))
    assert 0 < strict.sum() < chosen.sum()


@pytest.mark.parametrize(("objective", "filename"), [("multi:softprob", "xgboost.ubj"), ("multiclass", "model.txt")])
def test_three_classes(models: Any, trained: Trained, iris: Any, objective: str, filename: str) -> None:
    rows = iris[0][::7]
    source, direct = trained(objective, filename, rows)
    np.testing.assert_allclose(answer(models, source, rows, 3, predict_proba="true"), direct, rtol=1e-5)
    chosen = answer(models, source, rows, 1, output_class="true")
    np.testing.assert_array_equal(chosen.ravel(), direct.argmax(axis=1))


def test_regression_and_every_tree_even_after_early_stopping(models: Any, xgboost_model: Any, iris: Any) -> None:
    import xgboost

    model = xgboost_model("reg:squarederror", rounds=6)
    model.set_attr(best_iteration="2")
    source = models.booster(model, "xgboost.model", "fil")
    expected = model.predict(xgboost.DMatrix(iris[0][:9]), iteration_range=(0, 6))
    np.testing.assert_allclose(answer(models, source, iris[0][:9], 1).ravel(), expected, rtol=1e-5)


def test_shapley_values(models: Any, xgboost_model: Any, iris: Any) -> None:
    import xgboost

    model = xgboost_model("binary:logistic")
    outputs = {"output__0": ("FP32", (1,)), "treeshap_output": ("FP32", (5,))}
    source = models.booster(model, "xgboost.json", "fil")
    out = models.instance(source, inputs=INPUTS, outputs=outputs).execute({"input__0": iris[0][:4]}, list(outputs))
    expected = model.predict(xgboost.DMatrix(iris[0][:4]), pred_contribs=True)
    np.testing.assert_allclose(out["treeshap_output"], expected, rtol=1e-4, atol=1e-6)


def test_what_only_a_gpu_would_heed_is_passed_over(models: Any, xgboost_model: Any, iris: Any) -> None:
    source = models.booster(xgboost_model("binary:logistic"), "xgboost.json", "fil")
    unheeded = {"algo": "ALGO_AUTO", "storage_type": "AUTO", "blocks_per_sm": "0", "threads_per_tree": "1"}
    assert answer(models, source, iris[0][:2], 1, model_type="xgboost_json", **unheeded).shape == (2, 1)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model_type": "cuml"}, "must be one of xgboost, xgboost_json"),
        ({"threshold": "high"}, "'threshold' .* must be a number"),
        ({"predict_proba": "perhaps"}, "must be true or false"),
        ({"model_type": "lightgbm"}, "is 'lightgbm', but .*xgboost.json' is a model of xgboost"),
        ({"model_type": "treelite_checkpoint"}, "a checkpoint of Treelite, which is not read here"),
    ],
)
def test_wrong_parameters(models: Any, xgboost_model: Any, parameters: dict[str, str], words: str) -> None:
    source = models.booster(xgboost_model("binary:logistic"), "xgboost.json", "fil")
    with pytest.raises(ConfigError, match=words):
        models.instance(source, inputs=INPUTS, outputs={"output__0": ("FP32", (1,))}, parameters=parameters)


def test_a_shape_that_the_parameters_do_not_give_is_refused(models: Any, xgboost_model: Any) -> None:
    from dataclasses import replace

    source = models.booster(xgboost_model("binary:logistic"), "xgboost.json", "fil")
    whole = models.configured(source, inputs=INPUTS, outputs={"output__0": ("FP32", (1,))})
    wrong = replace(whole.config, output=(replace(whole.config.output[0], dims=(2,)),))
    with pytest.raises(ConfigError, match=r"output__0.*\[-1,2\].*\[-1,1\]|output__0.*\[-1,1\].*\[-1,2\]"):
        load_model(FilBackend(), replace(whole, config=wrong))


@pytest.mark.parametrize(
    ("filename", "model_type"),
    [("xgboost.model", "xgboost"), ("xgboost.json", "xgboost_json"), ("xgboost.ubj", "xgboost_ubj"), ("", "lightgbm")],
)
def test_a_repository_as_it_was_written_for_triton(
    models: Any, xgboost_model: Any, lightgbm_model: Any, iris: Any, filename: str, model_type: str
) -> None:
    folder = models.root / "repository" / "fraud"
    (folder / "1").mkdir(parents=True)
    model = lightgbm_model("binary") if model_type == "lightgbm" else xgboost_model("binary:logistic")
    model.save_model(folder / "1" / (filename or "model.txt"))
    (folder / "config.pbtxt").write_text(f"""
        name: "fraud"
        backend: "fil"
        max_batch_size: 32768
        input [{{ name: "input__0" data_type: TYPE_FP32 dims: [ 4 ] }}]
        output [{{ name: "output__0" data_type: TYPE_FP32 dims: [ 2 ] }}]
        instance_group [{{ kind: KIND_AUTO }}]
        parameters [
          {{ key: "model_type" value: {{ string_value: "{model_type}" }} }},
          {{ key: "predict_proba" value: {{ string_value: "true" }} }},
          {{ key: "output_class" value: {{ string_value: "true" }} }},
          {{ key: "threshold" value: {{ string_value: "0.5" }} }},
          {{ key: "algo" value: {{ string_value: "ALGO_AUTO" }} }},
          {{ key: "storage_type" value: {{ string_value: "AUTO" }} }},
          {{ key: "blocks_per_sm" value: {{ string_value: "0" }} }}
        ]
        dynamic_batching {{ max_queue_delay_microseconds: 100 }}
    """)
    with Server(models.root / "repository") as server:
        out = server.infer("fraud", {"input__0": iris[0][:3]})["output__0"]
    assert np.asarray(out).shape == (3, 2)
    np.testing.assert_allclose(np.asarray(out).sum(axis=1), 1, rtol=1e-6)
