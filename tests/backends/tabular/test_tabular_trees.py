"""Every kind of model with trees passes the check of its trees, and answers as it does by itself."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atoll.backends.tabular.sklearn_trees import check_trees

MATRIX = {"x": ("FP32", (4,))}


def kinds() -> dict[str, Callable[[], Any]]:
    from sklearn import calibration, ensemble, multioutput, pipeline, preprocessing, tree

    return {
        "tree": lambda: tree.DecisionTreeRegressor(max_depth=3),
        "stump": lambda: tree.DecisionTreeClassifier(max_depth=1),
        "extra": lambda: ensemble.ExtraTreesClassifier(3),
        "outliers": lambda: ensemble.IsolationForest(n_estimators=3, max_features=2, random_state=0),
        "bagging": lambda: ensemble.BaggingClassifier(n_estimators=3, max_features=2, random_state=0),
        "boosting": lambda: ensemble.AdaBoostClassifier(n_estimators=3),
        "gradients": lambda: ensemble.GradientBoostingRegressor(n_estimators=3),
        "histogram": lambda: ensemble.HistGradientBoostingRegressor(max_iter=3, categorical_features=[3]),
        "voting": lambda: ensemble.VotingClassifier([("t", tree.DecisionTreeClassifier(max_depth=2))]),
        "stacking": lambda: ensemble.StackingClassifier([("t", ensemble.RandomForestClassifier(2, random_state=0))]),
        "embedding": lambda: ensemble.RandomTreesEmbedding(2, random_state=0),
        "calibrated": lambda: calibration.CalibratedClassifierCV(tree.DecisionTreeClassifier(max_depth=2), cv=2),
        "several": lambda: multioutput.MultiOutputRegressor(tree.DecisionTreeRegressor(max_depth=2)),
        "pipeline": lambda: pipeline.make_pipeline(
            preprocessing.PolynomialFeatures(2), ensemble.RandomForestRegressor(2, random_state=0)
        ),
    }


NAMES = (
    *("tree", "stump", "extra", "outliers", "bagging", "boosting", "gradients", "histogram", "voting", "stacking"),
    *("embedding", "calibrated", "several", "pipeline"),
)


@pytest.mark.parametrize("name", NAMES)
def test_models_with_trees(models: Any, iris: Any, name: str) -> None:
    warnings.simplefilter("ignore")
    rows, labels = iris
    rows = np.floor(rows)
    targets = np.stack([labels, labels + 1.5], axis=1) if name == "several" else labels
    model = kinds()[name]().fit(rows, targets)
    method, output = ("transform", "TRANSFORMED") if name == "embedding" else ("predict", "LABEL")
    out = models.instance(models.skops(model), inputs=MATRIX).execute({"x": rows[::9]}, [output])[output]
    expected = getattr(model, method)(rows[::9])
    expected = expected.toarray() if hasattr(expected, "toarray") else expected
    np.testing.assert_allclose(out, expected.reshape(out.shape), rtol=1e-5)


def test_a_tree_that_stands_alone_is_refused(iris: Any) -> None:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=2).fit(*iris).tree_
    with pytest.raises(ValueError, match="a tree outside of a model of trees"):
        check_trees([tree])
