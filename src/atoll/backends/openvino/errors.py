"""OpenVINO's exceptions as ours: without the places in its source code, which come first in every text of it."""

import re
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.error_text import bounded
from atoll.backends.model_kind import wrong_kind
from atoll.errors import AtollError, ConfigError, InternalError

_PLACES = re.compile(r"^(Exception from |FrontEnd API failed with )\S.*$|^Check '.*' failed( at \S+)?:?$")


def error_text(error: BaseException) -> str:
    """What it says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not _PLACES.match(line)] or lines
    return bounded("; ".join(said) or type(error).__name__)


def execution_error(error: Exception) -> AtollError:
    """What a request gets whose batch failed inside OpenVINO."""
    return error if isinstance(error, AtollError) else InternalError(f"openvino error: {error_text(error)}")


def load_error(source: ModelSource, path: Path, cause: str, advice: str = "", wrong: bool = False) -> ConfigError:
    """Why `path` could not be loaded, and what to do about it. `wrong`: it is of another kind than its name says, which
    is the advice then.
    """
    if wrong:
        remedy = wrong_kind(path, "openvino")
    else:
        remedy = f"; {advice}" if advice else ""
    return ConfigError(f"failed to load model '{source.name}' from '{path}': {cause}{remedy}")
