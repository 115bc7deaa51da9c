"""Models of scikit-learn: their methods as outputs, their columns as inputs, and their threads."""

import warnings
from typing import Any

import numpy as np
import pytest
from tests.side_by_side import side_by_side

from atoll.backends.api import Placement
from atoll.backends.loading import load_model
from atoll.errors import ConfigError, InvalidArgumentError

MATRIX = {"PIXELS": ("FP32", (4,))}


def strings(*values: bytes) -> Any:
    column = np.empty((len(values), 1), np.object_)
    column[:, 0] = values
    return column


def test_what_a_classifier_offers_without_a_configuration(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    found = models.backend(models.skops(LogisticRegression().fit(*iris))).signature(
        models.skops(LogisticRegression().fit(*iris))
    )
    assert [(one.name, one.data_type.name, one.shape) for one in found.inputs] == [("INPUT", "FP32", (-1, 4))]
    assert [(one.name, one.data_type.name, one.shape) for one in found.outputs] == [
        ("LABEL", "INT64", (-1, 1)),
        ("PROBABILITIES", "FP32", (-1, 3)),
    ]
    assert found.batching is True


@pytest.mark.parametrize("name", ["logistic", "forest", "boosted", "histogram", "network", "vectors", "neighbours"])
def test_answers_are_those_of_the_model_itself(models: Any, iris: Any, name: str) -> None:
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    warnings.simplefilter("ignore")
    rows, labels = iris
    made: Any = {
        "logistic": lambda: make_pipeline(StandardScaler(copy=False), LogisticRegression()),
        "forest": lambda: RandomForestClassifier(5, n_jobs=2, random_state=0),
        "boosted": lambda: GradientBoostingClassifier(n_estimators=3),
        "histogram": lambda: HistGradientBoostingClassifier(max_iter=3),
        "network": lambda: MLPClassifier((8,), max_iter=20, random_state=0),
        "vectors": lambda: SVC(),
        "neighbours": lambda: KNeighborsClassifier(algorithm="brute"),
    }[name]()
    model = made.fit(rows.copy(), labels)
    instance = models.instance(models.skops(model), inputs=MATRIX)
    sent = rows[::10].copy()
    sent.flags.writeable = False
    wanted = ["LABEL"] + (["PROBABILITIES"] if name != "vectors" else ["DECISION"])
    out = instance.execute({"PIXELS": sent}, wanted)
    np.testing.assert_array_equal(out["LABEL"].ravel(), model.predict(sent.copy()))
    assert out["LABEL"].dtype == np.int64
    direct = model.predict_proba if name != "vectors" else model.decision_function
    np.testing.assert_allclose(out[wanted[1]], direct(sent.copy()), rtol=1e-6)
    assert out[wanted[1]].dtype == np.float32


def test_classes_with_names_come_as_bytes(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, labels = iris
    names = np.array(["setosa", "versicolor", "größer"])
    source = models.skops(LogisticRegression().fit(rows, names[labels]))
    out = models.instance(source, inputs=MATRIX).execute({"PIXELS": rows[[0, 100]]}, ["LABEL"])["LABEL"]
    assert out.tolist() == [[b"setosa"], ["größer".encode()]]


def test_regressors_clusters_and_transformers(models: Any, iris: Any) -> None:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression

    rows, labels = iris
    regression = LinearRegression().fit(rows, np.stack([labels, -labels], axis=1))
    out = models.instance(models.skops(regression), inputs=MATRIX).execute({"PIXELS": rows[:3]}, ["LABEL"])["LABEL"]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, regression.predict(rows[:3]), rtol=1e-5)
    clusters = KMeans(2, n_init=1, random_state=0).fit(rows)
    out = models.instance(models.skops(clusters), inputs=MATRIX).execute({"PIXELS": rows[:3]}, ["LABEL"])["LABEL"]
    np.testing.assert_array_equal(out.ravel(), clusters.predict(rows[:3]))
    parts = PCA(2).fit(rows)
    instance = models.instance(models.skops(parts), inputs=MATRIX)
    out = instance.execute({"PIXELS": rows[:3]}, ["TRANSFORMED"])["TRANSFORMED"]
    np.testing.assert_allclose(out, parts.transform(rows[:3]), rtol=1e-4)


def test_outputs_under_names_and_types_of_the_configuration(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    rows, labels = iris
    model = LogisticRegression().fit(rows, labels)
    instance = models.instance(
        models.skops(model),
        inputs={"x": ("FP64", (4,))},
        outputs={"class": ("INT32", (1,)), "share": ("FP64", (3,)), "decision_function": ("FP32", (3,))},
        parameters={"outputs": "class=predict, share=predict_proba"},
    )
    sent = rows[:5].astype(np.float64)
    out = instance.execute({"x": sent}, ["class", "share", "decision_function"])
    assert out["class"].dtype == np.int32
    assert out["share"].dtype == np.float64
    np.testing.assert_array_equal(out["share"], model.predict_proba(sent))
    np.testing.assert_allclose(out["decision_function"], model.decision_function(sent), rtol=1e-6)


def test_an_output_that_means_nothing_is_refused(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    source = models.skops(LogisticRegression().fit(*iris))
    outputs = {"A": ("FP32", (1,)), "B": ("FP32", (3,))}
    with pytest.raises(ConfigError, match=r"nothing says what output 'A' is of.*predict_proba.*'A=predict'"):
        models.configured(source, inputs=MATRIX, outputs=outputs)
    source = models.skops(LinearRegression().fit(*iris))
    with pytest.raises(ConfigError, match=r"'A' .*is of 'predict_proba', which this model .* does not have"):
        models.configured(source, inputs=MATRIX, parameters={"outputs": "A=predict_proba"})


def test_a_configuration_that_disagrees_is_refused_with_both_sides(models: Any, iris: Any) -> None:
    from dataclasses import replace

    from sklearn.linear_model import LogisticRegression

    source = models.skops(LogisticRegression().fit(*iris))
    whole = models.configured(source, inputs=MATRIX, outputs={"PROBABILITIES": ("FP32", (3,))})
    for part, dims in (("input", (5,)), ("output", (7,))):
        wrong = replace(whole.config, **{part: (replace(getattr(whole.config, part)[0], dims=dims),)})
        with pytest.raises(ConfigError) as refusal:
            load_model(models.backend(whole), replace(whole, config=wrong))
        assert f"[-1,{dims[0]}]" in str(refusal.value)
        assert f"[-1,{4 if part == 'input' else 3}]" in str(refusal.value)


def test_columns_of_mixed_types_by_name(models: Any) -> None:
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pandas.DataFrame(
        {"age": [20.0, 30, 40, 50], "city": ["Rome", "Zürich", "Rome", "Oslo"], "visits": [1, 2, 3, 9]}
    )
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "visits"]), ("words", OneHotEncoder(), ["city"])]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table, ["no", "yes", "no", "yes"])
    inputs = {"visits": ("INT64", (1,)), "city": ("BYTES", (1,)), "age": ("FP32", (1,))}
    instance = models.instance(models.skops(model), inputs=inputs)
    sent = {
        "city": strings("Zürich".encode(), b"Rome"),
        "visits": np.array([[2], [1]]),
        "age": np.array([[30], [20]], np.float32),
    }
    out = instance.execute(sent, ["LABEL", "PROBABILITIES"])
    assert out["LABEL"].tolist() == [[b"yes"], [b"no"]]
    np.testing.assert_allclose(out["PROBABILITIES"], model.predict_proba(table.iloc[[1, 0]]), rtol=1e-5)
    with pytest.raises(InvalidArgumentError, match="unknown categories"):
        instance.execute({**sent, "city": strings(b"Atlantis", b"Rome")}, ["LABEL"])
    with pytest.raises(InvalidArgumentError, match="input 'city' must be UTF-8"):
        instance.execute({**sent, "city": strings(b"\xff\xfe", b"Rome")}, ["LABEL"])
    with pytest.raises(ConfigError, match=r"unexpected inference input 'town'.*age, city, visits"):
        models.configured(
            models.skops(model), inputs={**{k: v for k, v in inputs.items() if k != "city"}, "town": ("BYTES", (1,))}
        )


def test_columns_without_names_are_taken_in_the_configurations_order(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LinearRegression

    rows, labels = iris
    model = LinearRegression().fit(rows, labels)
    inputs = dict.fromkeys("abcd", ("FP32", (1,)))
    instance = models.instance(models.skops(model), inputs=inputs)
    sent = {name: rows[:3, [number]] for number, name in enumerate("abcd")}
    out = instance.execute(dict(reversed(sent.items())), ["LABEL"])["LABEL"]
    np.testing.assert_allclose(out.ravel(), model.predict(rows[:3]), rtol=1e-4)
    with pytest.raises(ConfigError, match=r"has 2 inputs \(a, b\), the model 4 columns"):
        models.configured(models.skops(model), inputs=dict.fromkeys("ab", ("FP32", (1,))))


def test_values_that_a_model_refuses_are_the_requests_fault(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    instance = models.instance(models.skops(LogisticRegression().fit(*iris)), inputs=MATRIX)
    with pytest.raises(InvalidArgumentError, match=r"scikit-learn error: .*NaN"):
        instance.execute({"PIXELS": np.full((1, 4), np.nan, np.float32)}, ["LABEL"])
    assert instance.execute({"PIXELS": np.zeros((1, 4), np.float32)}, ["LABEL"])["LABEL"].shape == (1, 1)


def test_no_rows_and_one_row_without_batches(models: Any, iris: Any) -> None:
    from dataclasses import replace

    from sklearn.linear_model import LogisticRegression

    source = models.skops(LogisticRegression().fit(*iris))
    instance = models.instance(source, inputs=MATRIX)
    out = instance.execute({"PIXELS": np.zeros((0, 4), np.float32)}, ["LABEL", "PROBABILITIES"])
    assert out["LABEL"].shape == (0, 1)
    assert out["PROBABILITIES"].shape == (0, 3)
    whole = models.configured(source, inputs=MATRIX)
    one = replace(whole, config=replace(whole.config, max_batch_size=0, dynamic_batching=None))
    alone = models.backend(one).load(one).instance(Placement("m_0"))
    out = alone.execute({"PIXELS": iris[0][0]}, ["PROBABILITIES"])["PROBABILITIES"]
    assert out.shape == (3,)


def test_one_thread_for_an_execution_unless_the_model_says_more(models: Any, iris: Any) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline

    source = models.skops(make_pipeline(RandomForestClassifier(3, n_jobs=-1)).fit(*iris))
    for parameters, threads in (({}, 1), ({"threads": "2"}, 2)):
        whole = models.configured(source, inputs=MATRIX, parameters=parameters)
        model = models.backend(whole).load(whole)
        assert not model.bounded
        method = model._parts[0].methods["predict"]
        assert method.__self__.steps[0][1].n_jobs == threads


def test_another_version_of_scikit_learn_is_told_in_one_line(models: Any, iris: Any, caplog: Any) -> None:
    import sklearn
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(3).fit(*iris)
    installed = sklearn.__version__
    original = type(model).__getstate__

    def older(self: Any) -> Any:
        return {**original(self), "_sklearn_version": "0.1.2"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "__getstate__", older)
        source = models.skops(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.configured(source, inputs=MATRIX)
    told = [one.getMessage() for one in caplog.records if "was saved by" in one.getMessage()]
    assert len(told) == 1
    assert "scikit-learn 0.1.2" in told[0]
    assert installed in told[0]


def test_instances_share_the_model_and_run_side_by_side(models: Any, iris: Any) -> None:
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = iris
    trained = RandomForestClassifier(5, random_state=0).fit(rows, labels)
    source = models.configured(models.skops(trained), inputs=MATRIX)
    model = models.backend(source).load(source)
    expected = trained.predict(rows)

    def drive(number: int) -> None:
        instance = model.instance(Placement(f"m_{number}"))
        for start in range(0, 100, 10):
            out = instance.execute({"PIXELS": rows[start : start + 10]}, ["LABEL"])["LABEL"]
            np.testing.assert_array_equal(out.ravel(), expected[start : start + 10])

    side_by_side(3, drive)


def test_a_gpu_is_refused(models: Any, iris: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    source = models.configured(models.skops(LogisticRegression().fit(*iris)), inputs=MATRIX)
    with pytest.raises(ConfigError, match=r"instance 'm_0'.*kind: KIND_CPU"):
        models.backend(source).load(source).instance(Placement("m_0", kind="KIND_GPU"))
