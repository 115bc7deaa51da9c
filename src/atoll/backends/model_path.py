"""Where a version's files are: the model's own (for some formats a folder), and those that its configuration names."""

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


def named_file(source: ModelSource, name: str) -> Path | None:
    """A file that the configuration names besides, which lies in the version's folder or in the model's; None where it
    is in neither.
    """
    places = (source.version_directory / name, source.model_directory / name)
    return next((one for one in places if one.is_file()), None)


def operation_libraries(source: ModelSource) -> list[Path]:
    """The libraries that `model_operations` names. Raises ConfigError where one is not there."""
    names = source.config.model_operations.op_library_filename if source.config.model_operations else ()
    libraries = []
    for name in names:
        path = named_file(source, name)
        if path is None:
            raise ConfigError(
                f"model '{source.name}': model_operations.op_library_filename names '{name}', "
                f"which is neither in '{source.version_directory}' nor in '{source.model_directory}'"
            )
        libraries.append(path)
    return libraries


def _entries(directory: Path, suffixes: Sequence[str]) -> list[str]:
    with suppress(OSError):
        return sorted(islice((one.name for one in directory.iterdir() if one.suffix in suffixes), 3))
    return []
