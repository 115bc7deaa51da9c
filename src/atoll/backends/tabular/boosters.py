"""Models of XGBoost and LightGBM, run by the libraries' native code."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from atoll.backends.api import ModelSource
from atoll.backends.runtime import import_runtime
from atoll.backends.tabular.lightgbm_file import LightgbmFacts, read_lightgbm, trees_alone
from atoll.backends.tabular.model_file import unreadable
from atoll.backends.tabular.predictor import (
    CONTRIBUTIONS,
    LEAVES,
    MARGIN,
    PREDICT,
    PROBABILITIES,
    VALUES,
    Method,
    Predictor,
    error_text,
)
from atoll.backends.tabular.settings import TabularSettings
from atoll.backends.tabular.xgboost_file import LegacyFormatError, XgboostFacts, read_xgboost
from atoll.errors import ConfigError
from atoll.tensor import Array

logger = logging.getLogger(__name__)
_DECIDING = ("binary:", "multi:", "binary", "multiclass", "multiclassova")


def load_xgboost(source: ModelSource, path: Path, settings: TabularSettings) -> Predictor:
    """Raises ConfigError naming the file where it is damaged, or of the format that XGBoost has given up."""
    xgboost = import_runtime("xgboost", backend="tabular", library="XGBoost", extra="tabular")
    data = path.read_bytes()
    try:
        facts = read_xgboost(data)
    except LegacyFormatError as error:
        raise ConfigError(
            f"failed to load model '{source.name}' from '{path}': {error}, which was removed in XGBoost 3.1; load it "
            "with XGBoost 3.0 or older and save it with save_model('xgboost.json')"
        ) from error
    except ValueError as error:
        raise unreadable(source, path, "XGBoost", str(error)) from error
    try:
        with xgboost.config_context(verbosity=0):
            booster = xgboost.Booster()
            booster.load_model(bytearray(data))
            booster.set_param({"nthread": settings.threads})
    except Exception as error:
        raise unreadable(source, path, "XGBoost", error_text(error)) from error
    _tell_versions(source, "XGBoost", facts.version, xgboost.__version__)
    iterations = _xgboost_iterations(source, facts, booster.num_boosted_rounds(), settings)
    run = _XgboostRuns(xgboost, booster, facts, settings.threads, iterations)
    decides = _decides(facts.objective)
    classes = np.arange(max(facts.outputs, 2)) if decides else None
    methods: dict[str, Method] = {PREDICT: run.values, VALUES: run.values, MARGIN: run.margins}
    if decides:
        methods |= {PREDICT: _labels_of(run.probabilities), PROBABILITIES: run.probabilities}
    if facts.booster != "gblinear":
        methods[LEAVES] = run.leaves
    methods[CONTRIBUTIONS] = run.contributions
    return Predictor(
        library="xgboost",
        methods=methods,
        features=facts.features,
        names=tuple(booster.feature_names or ()),
        bounded=True,
        classes=classes,
    )


class _XgboostRuns:
    def __init__(self, xgboost: Any, booster: Any, facts: XgboostFacts, threads: int, iterations: tuple[int, int]):
        self._xgboost = xgboost
        self._booster = booster
        self._facts = facts
        self._threads = threads
        self._iterations = iterations
        self._types = booster.feature_types
        categories = "c" in (self._types or ())
        # what takes no rows as they are, or keeps state between calls
        self._copies = categories or facts.booster == "gblinear"
        self._one_at_a_time = threading.Lock() if facts.booster != "gbtree" else None

    def values(self, rows: Array) -> Array:
        return self._in_place(rows, "value")

    def margins(self, rows: Array) -> Array:
        return self._in_place(rows, "margin")

    def probabilities(self, rows: Array) -> Array:
        objective = self._facts.objective
        if objective in ("multi:softmax", "binary:logitraw", "binary:hinge"):
            found = self.margins(rows)
            if objective == "multi:softmax":
                return _softmax(found)
            found = 1 / (1 + np.exp(-found)) if objective == "binary:logitraw" else (found > 0).astype(np.float32)
        else:
            found = self.values(rows)
        return _both(found)

    def leaves(self, rows: Array) -> Array:
        found = self._copied(rows, pred_leaf=True).astype(np.int32)
        return found.reshape(len(rows), -1)

    def contributions(self, rows: Array) -> Array:
        return self._copied(rows, pred_contribs=True)

    def _in_place(self, rows: Array, kind: str) -> Array:
        if self._copies:
            return self._copied(rows, output_margin=kind == "margin")
        if self._one_at_a_time is None:
            return self._unlocked(rows, kind)
        with self._one_at_a_time:
            return self._unlocked(rows, kind)

    def _unlocked(self, rows: Array, kind: str) -> Array:
        found: Array = self._booster.inplace_predict(
            rows, iteration_range=self._iterations, predict_type=kind, validate_features=False
        )
        return found

    def _copied(self, rows: Array, **wanted: bool) -> Array:
        with self._xgboost.config_context(verbosity=0):
            matrix = self._xgboost.DMatrix(
                rows, nthread=self._threads, feature_types=self._types, enable_categorical=self._types is not None
            )
            if self._one_at_a_time is None:
                return self._of_matrix(matrix, wanted)
            with self._one_at_a_time:
                return self._of_matrix(matrix, wanted)

    def _of_matrix(self, matrix: Any, wanted: dict[str, bool]) -> Array:
        found: Array = self._booster.predict(
            matrix, iteration_range=self._iterations, validate_features=False, **wanted
        )
        return found


def _xgboost_iterations(
    source: ModelSource, facts: XgboostFacts, rounds: int, settings: TabularSettings
) -> tuple[int, int]:
    wanted = _wanted_iterations(source, settings, rounds)
    if wanted is not None:
        return wanted
    if settings.best_iteration and facts.best_iteration is not None and 0 <= facts.best_iteration < rounds:
        return 0, facts.best_iteration + 1
    return 0, 0  # all of them


def load_lightgbm(source: ModelSource, path: Path, settings: TabularSettings) -> Predictor:
    """Raises ConfigError naming the file where it is damaged, or JSON, which LightGBM cannot read back."""
    lightgbm = import_runtime("lightgbm", backend="tabular", library="LightGBM", extra="tabular")
    data = path.read_bytes()
    try:
        facts = read_lightgbm(data)
    except ValueError as error:
        raise unreadable(source, path, "LightGBM", str(error)) from error
    lightgbm.register_logger(_Silence())
    try:
        booster = lightgbm.Booster(model_str=trees_alone(data))
    except Exception as error:
        raise unreadable(source, path, "LightGBM", error_text(error)) from error
    rounds = booster.current_iteration()
    first, end = _wanted_iterations(source, settings, rounds) or (0, rounds)
    return _lightgbm_predictor(booster, facts, settings.threads, first, end - first)


class _Silence:
    """What LightGBM prints, it also raises."""

    def info(self, text: str) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Nothing."""


def _lightgbm_predictor(booster: Any, facts: LightgbmFacts, threads: int, first: int, count: int) -> Predictor:
    def method(**wanted: bool) -> Callable[[Array], Array]:
        def run(rows: Array) -> Array:
            found: Array = booster.predict(
                rows, start_iteration=first, num_iteration=count, num_threads=threads, **wanted
            )
            return found

        return run

    values = method()
    methods: dict[str, Method] = {PREDICT: values, VALUES: values, MARGIN: method(raw_score=True)}
    decides = _decides(facts.objective)
    if decides:
        methods[PROBABILITIES] = lambda rows: _both(values(rows))
        methods[PREDICT] = _labels_of(methods[PROBABILITIES])
    leaves = method(pred_leaf=True)
    methods[LEAVES] = lambda rows: leaves(rows).reshape(len(rows), -1)
    methods[CONTRIBUTIONS] = method(pred_contrib=True)
    return Predictor(
        library="lightgbm",
        methods=methods,
        features=facts.features,
        names=facts.feature_names,
        bounded=True,
        classes=np.arange(max(facts.outputs, 2)) if decides else None,
    )


def _wanted_iterations(source: ModelSource, settings: TabularSettings, rounds: int) -> tuple[int, int] | None:
    if settings.iterations is not None and settings.iterations[1] > rounds:
        raise ConfigError(
            f"parameter 'iteration_range' of model '{source.name}' ends at {settings.iterations[1]}, but the model has "
            f"{rounds} iterations"
        )
    return settings.iterations


def _decides(objective: str) -> bool:
    return any(objective == one or (one.endswith(":") and objective.startswith(one)) for one in _DECIDING)


def _both(found: Array) -> Array:
    """Of a probability also that of the contrary: [batch, 2]; several stay as they are."""
    if found.ndim == 2 and found.shape[1] > 1:
        return found
    flat = found.reshape(-1)
    return np.stack([1 - flat, flat], axis=1)


def _softmax(found: Array) -> Array:
    powers = np.exp(found - found.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _labels_of(probabilities: Method) -> Method:
    def labels(rows: Array) -> Array:
        found = probabilities(rows)
        # of two, the second only where it is the likelier: as the libraries' own classifiers have it
        chosen: Array = found.argmax(axis=1).astype(np.int64)
        return chosen

    return labels


def _tell_versions(source: ModelSource, library: str, saved: str, installed: str) -> None:
    if saved and saved.split(".")[0] != installed.split(".")[0]:
        logger.warning(
            "model '%s' was saved by %s %s and is served by %s: compare its answers with those of where it was trained",
            source.name,
            library,
            saved,
            installed,
        )
