"""Files that would do harm: pickles, types that nobody trusts, and trees that lead out of their memory."""

import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fresh_python import run_code

from atoll.errors import ConfigError

MATRIX = {"x": ("FP32", (4,))}


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("filename", ["model.pkl", "model.joblib", "model.skops", "xgboost.json", "model.txt"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_read(models: Any, filename: str, protocol: int) -> None:
    mark = models.root / "executed"
    source = models.file(pickle.dumps(Bomb(mark), protocol), filename)
    with pytest.raises(ConfigError):
        models.backend(source).signature(source)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark), protocol))
    assert mark.exists()  # it would have been


def test_a_pickle_is_refused_with_the_reason_and_the_safe_way(models: Any) -> None:
    source = models.file(pickle.dumps({}), "model.pkl")
    with pytest.raises(
        ConfigError, match=r"may run any code.*skops.io.dump.*--backend-config=tabular,allow-pickle=true"
    ):
        models.backend(source).signature(source)


def test_a_model_cannot_allow_pickles_or_types_to_itself(models: Any, iris: Any) -> None:
    mark = models.root / "executed"
    source = models.file(pickle.dumps(Bomb(mark)), "model.pkl")
    with pytest.raises(ConfigError, match="is a pickle"):
        models.configured(source, inputs=MATRIX, parameters={"allow-pickle": "true"})
    assert not mark.exists()
    source = models.skops(unheard_of(iris))
    with pytest.raises(ConfigError, match="not trusted"):
        models.configured(source, inputs=MATRIX, parameters={"trusted-types": "numpy.sum;pathlib.Path.touch"})


def test_the_operator_may_allow_pickles(models: Any, iris: Any) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(*iris)
    memory = io.BytesIO()
    joblib.dump(model, memory)
    for content, filename in ((pickle.dumps(model), "model.pkl"), (memory.getvalue(), "model.joblib")):
        source = models.file(content, filename)
        instance = models.instance(source, inputs=MATRIX, settings={"allow-pickle": "true"})
        out = instance.execute({"x": iris[0][:5]}, ["LABEL"])["LABEL"]
        np.testing.assert_array_equal(out.ravel(), model.predict(iris[0][:5]))


def test_a_pickle_that_holds_no_model_is_told(models: Any) -> None:
    source = models.file(pickle.dumps({"a": 1}), "model.pkl")
    with pytest.raises(ConfigError, match="holds a dict, which has none of the methods predict"):
        models.configured(source, settings={"allow-pickle": "true"})


def unheard_of(iris: Any) -> Any:
    """A pipeline with a function that skops does not know."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(os.path.basename, validate=False), LogisticRegression()).__class__(
        [("f", FunctionTransformer(np.linalg.norm)), ("m", LogisticRegression().fit(*iris))]
    )


def test_types_that_are_not_trusted_are_named_with_what_allows_them(models: Any, iris: Any) -> None:
    source = models.skops(unheard_of(iris))
    with pytest.raises(ConfigError, match=r"not trusted.*numpy\.linalg.*--backend-config=tabular,trusted-types=numpy"):
        models.configured(source, inputs=MATRIX)


def test_the_operator_may_trust_types(models: Any, iris: Any) -> None:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(*iris)
    source = models.skops(model)
    with pytest.raises(ConfigError, match=r"xgboost\.sklearn\.XGBClassifier.*save_model\('xgboost\.json'\)"):
        models.configured(source, inputs=MATRIX)
    trusted = "xgboost.core.Booster;xgboost.sklearn.XGBClassifier"
    instance = models.instance(source, inputs=MATRIX, settings={"trusted-types": trusted})
    out = instance.execute({"x": iris[0][::9]}, ["LABEL"])["LABEL"]
    np.testing.assert_array_equal(out.ravel(), model.predict(iris[0][::9]))


def test_an_imputer_needs_no_trust(models: Any, iris: Any) -> None:
    """It holds the types of the arrays that it was fitted to."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = iris[0][::9].copy()
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(*iris)
    rows[0, 0] = np.nan
    out = models.instance(models.skops(model), inputs=MATRIX).execute({"x": rows}, ["LABEL"])["LABEL"]
    np.testing.assert_array_equal(out.ravel(), model.predict(rows))


def test_a_bound_function_must_itself_be_trusted(models: Any, iris: Any) -> None:
    import functools

    from sklearn.preprocessing import FunctionTransformer

    source = models.skops(FunctionTransformer(functools.partial(os.path.join, "a")))
    with pytest.raises(ConfigError, match=r"not trusted.*posixpath\.join"):
        models.configured(source, inputs=MATRIX)


def changed_archive(content: bytes, change: Any) -> bytes:
    """A skops archive whose arrays were changed: `change` gets each, and says what comes in its place."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(data))
                memory = io.BytesIO()
                np.save(memory, change(array))
                data = memory.getvalue()
            new.writestr(name, data)
    return written.getvalue()


@pytest.mark.parametrize("field", ["left_child", "right_child", "feature", "left", "right", "feature_idx"])
def test_nodes_that_lead_out_of_a_tree_are_refused(models: Any, iris: Any, field: str) -> None:
    import skops.io
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    histogram = field in ("left", "right", "feature_idx")
    kind: Any = HistGradientBoostingClassifier(max_iter=2) if histogram else RandomForestClassifier(2, random_state=0)
    content = skops.io.dumps(kind.fit(*iris))

    def change(array: Any) -> Any:
        if array.dtype.names and field in array.dtype.names:
            array = array.copy()
            array[field][0] = 1_000_000
        return array

    source = models.file(changed_archive(content, lambda array: array), "model.skops")
    models.configured(source, inputs=MATRIX)  # unchanged, it is served
    source = models.file(changed_archive(content, change), "model.skops")
    with pytest.raises(ConfigError, match=r"a node of a tree (leads to node|asks for feature) 1000000 of"):
        models.configured(source, inputs=MATRIX)


def test_a_tree_for_wider_rows_than_its_forest_says_is_refused(models: Any, iris: Any) -> None:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(2).fit(*iris)
    model.n_features_in_ = 2
    with pytest.raises(ConfigError, match="a tree is for rows of other than 2 features"):
        models.configured(models.file(skops.io.dumps(model), "model.skops"))


@pytest.mark.parametrize(
    ("filename", "content", "words"),
    [
        ("model.skops", b"", "the file is empty"),
        ("xgboost.json", b"", "the file is empty"),
        ("xgboost.json", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("model.txt", b"<!DOCTYPE html>", "a web page"),
        ("model.skops", b"PK\x03\x04" + bytes(100), "cut off or damaged"),
        ("xgboost.model", b"binf" + bytes(400), "removed in XGBoost 3.1"),
        ("xgboost.model", bytes(12) + b"\x04\x00\x00\x00" + bytes(400), "removed in XGBoost 3.1"),
        ("model.txt", b'{"name": "tree", "version": "v4"}', "dump_model() gives, and LightGBM cannot read that back"),
        ("model.json", b'{"name": "tree", "version": "v4"}', "a part of it is missing"),
        ("model.bin", b"\x08\x07onnx", "none of skops, XGBoost's or LightGBM's files"),
    ],
)
def test_other_files_are_told_by_what_they_are(models: Any, filename: str, content: bytes, words: str) -> None:
    source = models.file(content, filename)
    with pytest.raises(ConfigError) as refusal:
        models.backend(source).signature(source)
    assert words in str(refusal.value)
    assert filename in str(refusal.value)


def test_damaged_files_never_end_the_process(models: Any, xgboost_model: Any, lightgbm_model: Any) -> None:
    """XGBoost and LightGBM by themselves crash or hang over some of these."""
    generator = random.Random(3)
    folder = models.root / "damaged"
    folder.mkdir()
    for model, filename in (
        (xgboost_model("multi:softprob"), "xgboost.json"),
        (xgboost_model("binary:logistic"), "xgboost.ubj"),
        (lightgbm_model("multiclass"), "model.txt"),
    ):
        models.booster(model, filename)
        content = (models.root / filename).read_bytes()
        for number in range(60):
            damaged = bytearray(content)
            if number % 3 == 0:
                damaged = damaged[: generator.randrange(len(damaged))]
            else:
                for _ in range(generator.choice((1, 3, 10))):
                    place = generator.randrange(len(damaged))
                    damaged[place] = generator.choice(b"0123456789-{}[],=\n \xff\x00")
            (folder / f"{number}{filename}").write_bytes(damaged)
    code = """
        import sys
        import numpy as np
        from dataclasses import replace
        from pathlib import Path
        from atoll.backends.api import ModelSource, Placement
        from atoll.backends.tabular import TabularBackend
        from atoll.config.autofill import fill
        from atoll.config.model_config import ModelConfig
        from atoll.errors import AtollError
        folder, backend = Path(sys.argv[1]), TabularBackend()
        for file in sorted(folder.iterdir()):
            config = ModelConfig(name="m", backend="tabular", default_model_filename=file.name, max_batch_size=4)
            source = ModelSource("m", 1, folder, folder, config)
            try:
                source = replace(source, config=fill(config, backend.signature(source)))
                outputs = [one.name for one in source.config.output]
                rows = np.zeros((2, source.config.input[0].dims[0]), np.float32)
                backend.load(source).instance(Placement("m_0")).execute({"INPUT": rows}, outputs)
                print("served")
            except AtollError as error:
                print(type(error).__name__)
    """
    answers = run_code(code, str(folder)).stdout.split()
    assert len(answers) == 180
    assert answers.count("ConfigError") > 90
    assert "served" in answers


def test_trees_of_xgboost_that_lead_out_of_their_memory_are_refused(models: Any, xgboost_model: Any) -> None:
    models.booster(xgboost_model("binary:logistic"), "xgboost.json")
    document = json.loads((models.root / "xgboost.json").read_bytes())
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    for key, words in (("left_children", "leads to node 99999"), ("split_indices", "asks for feature 99999 of 4")):
        kept = tree[key][0]
        tree[key][0] = 99999
        source = models.file(json.dumps(document).encode(), "xgboost.json")
        with pytest.raises(ConfigError, match=words):
            models.backend(source).signature(source)
        tree[key][0] = kept
