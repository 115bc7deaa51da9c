"""Where a version's model file (for some formats a folder) is."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.model_kind import wrong_kind
from atoll.errors import ConfigError


def model_path(
    source: ModelSource, default: str, *, is_model: Callable[[Path], bool] = Path.is_file, suffixes: Sequence[str] = ()
) -> Path:
    """What `default_model_filename` names in the version's folder, or `default` there.

    Raises ConfigError where there is none, or a folder where it has to be a file; it names entries with one of the
    `suffixes`, which may have been meant.
    """
    path = source.version_directory / (source.config.default_model_filename or default)
    if is_model(path):
        return path
    if path.exists():
        what = "a folder" if path.is_dir() else "a file"
        wrong = wrong_kind(path, source.config.backend)
        raise ConfigError(
            f"failed to load model '{source.name}' from '{path}': {what} is no model of this backend{wrong}"
        )
    message = f"unable to find '{path}' for model '{source.name}'"
    others = _entries(source.version_directory, suffixes or (Path(default).suffix,))
    if others:
        remedy = f'rename it to {path.name}, or set default_model_filename: "{others[0]}" in config.pbtxt'
        raise ConfigError(f"{message}; found {', '.join(others)} there: {remedy}")
    raise ConfigError(f"{message}; put the model there, or name it with default_model_filename in config.pbtxt")


def _entries(directory: Path, suffixes: Sequence[str]) -> list[str]:
    with suppress(OSError):
        return sorted(islice((one.name for one in directory.iterdir() if one.suffix in suffixes), 3))
    return []
