"""Models of XGBoost and LightGBM: the same numbers as from the libraries themselves."""

import gc
from typing import Any

import numpy as np
import pytest
from tests.backends.conftest import RepositoryWriter, StartServer
from tests.backends.resident_memory import assert_nothing_stays

from atoll.backends.api import Placement
from atoll.errors import ConfigError, InvalidArgumentError

MATRIX = {"x": ("FP32", (4,))}


def own_class(model: Any, filename: str, folder: Any) -> Any:
    """The library's own classifier of a saved model."""
    import xgboost

    classifier = xgboost.XGBClassifier()
    classifier.load_model(folder / filename)
    return classifier


@pytest.mark.parametrize("filename", ["xgboost.json", "xgboost.ubj", "model.json", "model.ubj", "xgboost.model"])
@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_xgboost_classifiers(models: Any, xgboost_model: Any, iris: Any, filename: str, objective: str) -> None:
    booster = xgboost_model(objective)
    instance = models.instance(models.booster(booster, filename), inputs=MATRIX)
    own = own_class(booster, filename, models.root)
    rows = iris[0][::7]
    out = instance.execute({"x": rows}, ["LABEL", "PROBABILITIES"])
    np.testing.assert_array_equal(out["LABEL"].ravel(), own.predict(rows))
    np.testing.assert_allclose(out["PROBABILITIES"], own.predict_proba(rows), rtol=1e-6)
    assert (out["LABEL"].dtype, out["PROBABILITIES"].dtype) == (np.int64, np.float32)


def test_xgboost_softmax_has_probabilities_too(models: Any, xgboost_model: Any, iris: Any) -> None:
    instance = models.instance(models.booster(xgboost_model("multi:softmax"), "xgboost.ubj"), inputs=MATRIX)
    out = instance.execute({"x": iris[0][::7]}, ["LABEL", "PROBABILITIES"])
    import xgboost

    expected = xgboost_model("multi:softprob").predict(xgboost.DMatrix(iris[0][::7]))
    np.testing.assert_allclose(out["PROBABILITIES"], expected, rtol=1e-5)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_xgboost_regression_by_every_booster(models: Any, xgboost_model: Any, iris: Any, booster: str) -> None:
    import xgboost

    model = xgboost_model("reg:squarederror", booster=booster)
    instance = models.instance(models.booster(model, "xgboost.json"), inputs=MATRIX)
    out = instance.execute({"x": iris[0][:9]}, ["LABEL"])["LABEL"]
    np.testing.assert_allclose(out.ravel(), model.predict(xgboost.DMatrix(iris[0][:9])), rtol=1e-5)


def test_margins_leaves_and_contributions_of_xgboost(models: Any, xgboost_model: Any, iris: Any) -> None:
    import xgboost

    model = xgboost_model("multi:softprob")
    rows = xgboost.DMatrix(iris[0][:5])
    outputs = {"MARGIN": ("FP32", (3,)), "LEAVES": ("INT32", (12,)), "CONTRIBUTIONS": ("FP32", (3, 5))}
    source = models.configured(models.booster(model, "xgboost.json"), inputs=MATRIX, outputs=outputs)
    loaded = models.backend(source).load(source)
    assert not loaded.bounded  # contributions take as long as they take
    out = loaded.instance(Placement("m_0")).execute({"x": iris[0][:5]}, list(outputs))
    np.testing.assert_allclose(out["MARGIN"], model.predict(rows, output_margin=True), rtol=1e-5)
    np.testing.assert_array_equal(out["LEAVES"], model.predict(rows, pred_leaf=True))
    np.testing.assert_allclose(out["CONTRIBUTIONS"], model.predict(rows, pred_contribs=True), rtol=1e-4, atol=1e-5)


def test_missing_values_are_nan_and_infinity_is_a_number(models: Any, xgboost_model: Any, lightgbm_model: Any) -> None:
    import xgboost

    rows = np.array([[np.nan] * 4, [np.nan, 3, np.nan, 0.2], [np.inf, -np.inf, 1, 1]], np.float32)
    model = xgboost_model("binary:logistic")
    instance = models.instance(models.booster(model, "xgboost.json"), inputs=MATRIX)
    found = instance.execute({"x": rows}, ["PROBABILITIES"])["PROBABILITIES"]
    np.testing.assert_allclose(found[:2, 1], model.predict(xgboost.DMatrix(rows[:2])), rtol=1e-6)
    assert np.isfinite(found).all()
    model = lightgbm_model("binary")
    instance = models.instance(models.booster(model, "model.txt"), inputs=MATRIX)
    found = instance.execute({"x": rows}, ["PROBABILITIES"])["PROBABILITIES"]
    np.testing.assert_allclose(found[:, 1], model.predict(rows), rtol=1e-6)


def test_infinities_that_xgboost_refuses_are_the_requests_fault(models: Any, xgboost_model: Any) -> None:
    source = models.booster(xgboost_model("binary:logistic"), "xgboost.json")
    instance = models.instance(source, inputs=MATRIX, outputs={"LEAVES": ("INT32", (4,))})
    with pytest.raises(InvalidArgumentError, match=r"xgboost error: .*inf") as refusal:
        instance.execute({"x": np.full((1, 4), np.inf, np.float32)}, ["LEAVES"])
    assert "Stack trace" not in str(refusal.value)


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_lightgbm(models: Any, lightgbm_model: Any, iris: Any, objective: str) -> None:
    model = lightgbm_model(objective)
    rows = iris[0][::7]
    source = models.configured(models.booster(model, "model.txt"), inputs=MATRIX)
    loaded = models.backend(source).load(source)
    assert loaded.bounded
    out = loaded.instance(Placement("m_0")).execute({"x": rows}, [one.name for one in source.config.output])
    direct = model.predict(rows)
    if objective == "regression":
        assert list(out) == ["LABEL"]
        np.testing.assert_allclose(out["LABEL"].ravel(), direct, rtol=1e-6)
        return
    probabilities = np.stack([1 - direct, direct], axis=1) if objective == "binary" else direct
    np.testing.assert_allclose(out["PROBABILITIES"], probabilities, rtol=1e-6)
    np.testing.assert_array_equal(out["LABEL"].ravel(), probabilities.argmax(axis=1))


def test_margins_leaves_and_contributions_of_lightgbm(models: Any, lightgbm_model: Any, iris: Any) -> None:
    model = lightgbm_model("binary")
    outputs = {"MARGIN": ("FP64", (1,)), "LEAVES": ("INT32", (4,)), "CONTRIBUTIONS": ("FP64", (5,))}
    instance = models.instance(models.booster(model, "model.txt"), inputs=MATRIX, outputs=outputs)
    rows = iris[0][:5]
    out = instance.execute({"x": rows}, list(outputs))
    np.testing.assert_allclose(out["MARGIN"].ravel(), model.predict(rows, raw_score=True))
    np.testing.assert_array_equal(out["LEAVES"], model.predict(rows, pred_leaf=True))
    np.testing.assert_allclose(out["CONTRIBUTIONS"], model.predict(rows, pred_contrib=True))


def test_one_output_of_any_name_by_predict_method(models: Any, xgboost_model: Any, iris: Any) -> None:
    import xgboost

    model = xgboost_model("binary:logistic")
    source = models.booster(model, "xgboost.json")
    said: Any = {"inputs": MATRIX, "outputs": {"score": ("FP32", (1,))}}
    out = models.instance(source, **said, parameters={"predict_method": "margin"}).execute(
        {"x": iris[0][:5]}, ["score"]
    )
    expected = model.predict(xgboost.DMatrix(iris[0][:5]), output_margin=True)
    np.testing.assert_allclose(out["score"].ravel(), expected, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"'predict_method' is of 'transform'.*it has predict, value, margin"):
        models.instance(source, **said, parameters={"predict_method": "transform"})


def test_the_iterations_that_predict(models: Any, xgboost_model: Any, lightgbm_model: Any, iris: Any) -> None:
    import xgboost

    rows = iris[0][:5]
    model = xgboost_model("reg:squarederror", rounds=6)
    model.set_attr(best_iteration="2")
    source = models.booster(model, "xgboost.json")
    for parameters, last in (
        ({}, 3),
        ({"best_iteration": "false"}, 6),
        ({"iteration_range": "1,5"}, 5),
    ):
        out = models.instance(source, inputs=MATRIX, parameters=parameters).execute({"x": rows}, ["LABEL"])["LABEL"]
        first = 1 if last == 5 else 0
        expected = model.predict(xgboost.DMatrix(rows), iteration_range=(first, last))
        np.testing.assert_allclose(out.ravel(), expected, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"'iteration_range' .* ends at 9, but the model has 6"):
        models.instance(source, inputs=MATRIX, parameters={"iteration_range": "0,9"})
    light = lightgbm_model("regression", rounds=6)
    source = models.booster(light, "model.txt")
    out = models.instance(source, inputs=MATRIX, parameters={"iteration_range": "1,3"}).execute({"x": rows}, ["LABEL"])
    expected = light.predict(rows, start_iteration=1, num_iteration=2)
    np.testing.assert_allclose(out["LABEL"].ravel(), expected, rtol=1e-5)


def test_categories_go_as_their_numbers(models: Any) -> None:
    import lightgbm
    import xgboost

    generator = np.random.default_rng(0)
    rows = np.stack([generator.integers(0, 5, 200), generator.random(200)], axis=1).astype(np.float32)
    labels = (np.isin(rows[:, 0], (1, 3)) ^ (rows[:, 1] > 0.9)).astype(np.float32)
    data = xgboost.DMatrix(rows, labels, feature_types=["c", "q"], enable_categorical=True)
    parameters = {"objective": "binary:logistic", "max_cat_to_onehot": 1, "nthread": 1, "tree_method": "hist"}
    model = xgboost.train(parameters, data, 5)
    instance = models.instance(models.booster(model, "xgboost.ubj"), inputs={"x": ("FP32", (2,))})
    out = instance.execute({"x": rows[:20]}, ["PROBABILITIES"])["PROBABILITIES"]
    np.testing.assert_allclose(out[:, 1], model.predict(data)[:20], rtol=1e-5)
    dataset = lightgbm.Dataset(rows, labels, categorical_feature=[0])
    light = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5}, dataset, 5
    )
    assert "num_cat=0" not in light.model_to_string().partition("Tree=1")[0]
    instance = models.instance(models.booster(light, "model.txt"), inputs={"x": ("FP32", (2,))})
    out = instance.execute({"x": rows[:20]}, ["PROBABILITIES"])["PROBABILITIES"]
    np.testing.assert_allclose(out[:, 1], light.predict(rows[:20]), rtol=1e-6)


def test_columns_as_inputs_of_their_own(models: Any, iris: Any) -> None:
    import xgboost

    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    data = xgboost.DMatrix(iris[0], iris[1], feature_names=names)
    model = xgboost.train({"nthread": 1}, data, 3)
    kinds = ["FP32", "FP64", "INT32", "FP32"]
    inputs = {name: (kind, (1,)) for name, kind in zip(names, kinds, strict=True)}
    instance = models.instance(models.booster(model, "xgboost.json"), inputs=dict(reversed(inputs.items())))
    rows = np.floor(iris[0][:6])
    columns = {
        name: rows[:, [number]].astype({"FP32": "f4", "FP64": "f8", "INT32": "i4"}[kinds[number]])
        for number, name in enumerate(names)
    }
    out = instance.execute(columns, ["LABEL"])["LABEL"]
    expected = model.predict(xgboost.DMatrix(rows, feature_names=names))
    np.testing.assert_allclose(out.ravel(), expected, rtol=1e-5)


def test_unloading_frees_the_trees(models: Any, iris: Any) -> None:
    import xgboost

    generator = np.random.default_rng(0)
    rows = generator.random((2000, 4)).astype(np.float32)
    data = xgboost.DMatrix(rows, generator.random(2000))
    model = xgboost.train({"nthread": 1, "max_depth": 8}, data, 60)  # about 2 MB in memory, more while it is read
    source = models.configured(models.booster(model, "xgboost.ubj"), inputs=MATRIX)

    def cycle() -> None:
        loaded = models.backend(source).load(source)
        instance = loaded.instance(Placement("m_0"))
        instance.execute({"x": rows[:4]}, ["LABEL"])
        instance.close()
        loaded.close()
        gc.collect()

    assert_nothing_stays(cycle, 2_000_000)


def test_files_whose_names_say_nothing_are_known_by_their_content(
    repository: RepositoryWriter, start_server: StartServer, xgboost_model: Any, lightgbm_model: Any, iris: Any
) -> None:
    repository.model("x", None, {"model.json": xgboost_model("multi:softprob").save_model})
    repository.model("l", None, {"model.txt": lambda path: lightgbm_model("multiclass").save_model(str(path))})
    repository.model("words", None, {"model.txt": b"cat\ndog\n"})
    server = start_server(exit_on_error=False)
    assert {one.name: one.config.backend for one in server.models()} == {"x": "tabular", "l": "tabular"}
    assert server.infer("l", {"INPUT": iris[0][:3].astype(np.float32)})["LABEL"].shape == (3, 1)
