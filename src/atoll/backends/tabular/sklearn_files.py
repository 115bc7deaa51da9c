"""Models of scikit-learn: read from skops archives, whose types are looked at first, or from pickles, if the operator
allows them.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atoll.backends.api import ModelSource
from atoll.backends.recorded_warnings import recorded_warnings
from atoll.backends.runtime import import_runtime
from atoll.backends.tabular.model_file import unreadable
from atoll.backends.tabular.predictor import (
    DECISION,
    PREDICT,
    PROBABILITIES,
    TRANSFORM,
    Method,
    Predictor,
    error_text,
)
from atoll.backends.tabular.settings import TabularSettings
from atoll.backends.tabular.sklearn_trees import check_trees
from atoll.errors import ConfigError, MissingExtraError

logger = logging.getLogger(__name__)
_METHODS = (PREDICT, PROBABILITIES, DECISION, TRANSFORM)

# What skops does not trust by itself, and is harmless here: containers, types of arrays, parts of public estimators,
# optimizers that only training uses, a function bound to arguments (it is looked at itself), and trees, whose nodes are
# checked once they are read (sklearn_trees.py): that is what skops cannot do.
TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    }
)


def load_skops(source: ModelSource, path: Path, settings: TabularSettings) -> Predictor:
    """Raises ConfigError naming the file, and the types in it that are not trusted, with how to trust them."""
    sklearn = _import_sklearn()
    skops = import_runtime("skops.io", backend="tabular", library="skops", extra="tabular")
    try:
        unknown = sorted(set(skops.get_untrusted_types(file=path)) - TRUSTED)
    except Exception as error:
        raise unreadable(source, path, "skops", f"skops cannot read it: {error_text(error)}") from error
    untrusted = [one for one in unknown if one not in settings.trusted_types]
    if untrusted:
        setting = ";".join([*settings.trusted_types, *untrusted])
        raise ConfigError(
            f"model '{source.name}': '{path}' has types that are not trusted, as loading them may do anything: "
            f"{', '.join(untrusted)}. If you know what they do and where the file comes from, allow them with "
            f"--backend-config=tabular,trusted-types={setting}" + _boosters_advice(untrusted)
        )
    with recorded_warnings() as told:
        try:
            model = skops.load(path, trusted=unknown + sorted(TRUSTED & set(skops.get_untrusted_types(file=path))))
            check_trees(model)
        except ValueError as error:
            raise unreadable(source, path, "skops", error_text(error)) from error
        except Exception as error:
            raise unreadable(source, path, "skops", f"skops cannot load it: {error_text(error)}") from error
    return _predictor(source, path, model, settings, sklearn, told)


def load_pickle(source: ModelSource, path: Path, settings: TabularSettings) -> Predictor:
    """Raises ConfigError naming the file; where the operator does not allow pickles, without reading any of it."""
    if not settings.pickles:
        raise ConfigError(
            f"model '{source.name}': '{path}' is a pickle, which may run any code when it is loaded, and is not read. "
            "Save the model with skops.io.dump(model, 'model.skops'), or XGBoost's and LightGBM's with save_model(); "
            "or, if you trust whoever can write to the repository, start the server with "
            "--backend-config=tabular,allow-pickle=true"
        )
    sklearn = _import_sklearn()
    joblib = import_runtime("joblib", backend="tabular", library="joblib", extra="tabular")
    with recorded_warnings() as told:
        try:
            model = joblib.load(path)
        except Exception as error:
            text = f"it cannot be unpickled: {type(error).__name__}: {error_text(error)}"
            raise unreadable(source, path, "joblib or pickle", text) from error
    return _predictor(source, path, model, settings, sklearn, told)


def _import_sklearn() -> Any:
    sklearn = import_runtime("sklearn", backend="tabular", library="scikit-learn", extra="tabular")
    # rows come without names where the client sends one matrix, which is no news
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return sklearn


def _predictor(
    source: ModelSource, path: Path, model: Any, settings: TabularSettings, sklearn: Any, told: list[Any]
) -> Predictor:
    if isinstance(model, type) or not any(callable(getattr(model, one, None)) for one in _METHODS):
        raise ConfigError(
            f"model '{source.name}': '{path}' holds a {type(model).__name__}, which has none of the methods "
            f"{', '.join(_METHODS)}; save a fitted estimator or pipeline"
        )
    _tell_versions(source, sklearn, told)
    if hasattr(model, "get_params"):
        threads = {key: settings.threads for key in model.get_params(deep=True) if key.endswith("n_jobs")}
        # with copy=False a transformer would write into the client's own rows
        copies = {key: True for key in model.get_params(deep=True) if key == "copy" or key.endswith("__copy")}
        if threads or copies:
            model.set_params(**threads, **copies)
    methods: dict[str, Method] = {}
    for name in _METHODS:
        found = getattr(model, name, None)
        if callable(found):
            methods[name] = found
    names = getattr(model, "feature_names_in_", None)
    classes = getattr(model, "classes_", None)
    return Predictor(
        library="scikit-learn",
        methods=methods,
        features=int(getattr(model, "n_features_in_", 0)),
        names=() if names is None else tuple(str(one) for one in names),
        of_numbers=False,
        classes=classes if isinstance(classes, np.ndarray) else None,
    )


def _boosters_advice(untrusted: list[str]) -> str:
    for library in ("xgboost", "lightgbm"):
        if any(one.startswith(f"{library}.") for one in untrusted):
            file = "xgboost.json" if library == "xgboost" else "model.txt"
            return f"; or save that model with its own save_model('{file}'), which needs no trust"
    return ""


def _tell_versions(source: ModelSource, sklearn: Any, told: list[Any]) -> None:
    kind = getattr(sklearn.exceptions, "InconsistentVersionWarning", None)
    for one in told:
        if kind is not None and isinstance(one.message, kind):
            logger.warning(
                "model '%s' was saved by scikit-learn %s and is served by %s: compare its answers with those of where "
                "it was trained, or install that version",
                source.name,
                one.message.original_sklearn_version,
                one.message.current_sklearn_version,
            )
            return


def pandas_for(source: ModelSource) -> Any:
    """pandas, for models that want their columns by name. Raises MissingExtraError."""
    try:
        return import_runtime("pandas", backend="tabular", library="pandas", extra="tabular")
    except MissingExtraError as error:
        raise MissingExtraError(f"model '{source.name}' wants a table with named columns: {error}") from error
