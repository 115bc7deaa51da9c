"""Where a version's file is, and which library reads it: told from its first bytes, not from its name."""

from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.model_kind import LIGHTGBM, PICKLE, SKOPS, XGBOOST, kind_of, wrong_kind
from atoll.backends.model_path import model_path
from atoll.errors import ConfigError

SUFFIXES = (".skops", ".joblib", ".pkl", ".json", ".ubj", ".model", ".txt", ".tl")
_BY_SUFFIX = {
    ".skops": "skops",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".model": "xgboost",
    ".txt": "lightgbm",
}
_BY_KIND = {SKOPS: "skops", PICKLE: "pickle", XGBOOST: "xgboost", LIGHTGBM: "lightgbm"}


def find_model_file(source: ModelSource, default: str) -> Path:
    """The version's file. Raises ConfigError where there is none."""
    return model_path(source, default, suffixes=SUFFIXES)


def format_of(path: Path) -> str:
    """ "skops", "pickle", "xgboost" or "lightgbm"; "" where neither the file's first bytes nor its name tell."""
    kind = kind_of(path)
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    return _BY_SUFFIX.get(path.suffix, "")


def unreadable(source: ModelSource, path: Path, library: str, reason: str) -> ConfigError:
    """That the library's file is not one that can be read, and what it is instead, if that is known."""
    advice = wrong_kind(path, "tabular") or f"; save or copy it again, if it is to be one of {library}"
    return ConfigError(f"failed to load model '{source.name}' from '{path}': {reason}{advice}")
