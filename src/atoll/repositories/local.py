"""Model repositories on local disk, in Triton's layout, and bare model files: which models and versions are there.

Source for the layout: Triton's model repository documentation. Version folders are named by a whole number from 1
without leading zeros; everything else is ignored. Names that begin with a dot are not models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import ConfigError, NotFoundError

CONFIG_FILENAME = "config.pbtxt"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as it lies on disk.

    `versions` maps each version to the directory of its files. `config_file` is None where there is no config.pbtxt.
    `model_filename` is set for a bare file, and overrides the backend's default name.
    """

    name: str
    directory: Path
    versions: Mapping[int, Path]
    config_file: Path | None
    model_filename: str = ""


def find_models(repositories: Sequence[str | Path]) -> dict[str, ModelFolder]:
    """All models of these repositories, by name, in the order in which they are found; a bare file is a repository of
    one.

    Raises NotFoundError for a path that does not exist, and ConfigError where two repositories have a model of one
    name.
    """
    found: dict[str, ModelFolder] = {}
    for repository in repositories:
        path = Path(repository)
        for folder in _models_of(path):
            if folder.name in found:
                raise ConfigError(
                    f"model '{folder.name}' is in more than one repository: {found[folder.name].directory} and "
                    f"{folder.directory}; a name must be unique across repositories"
                )
            found[folder.name] = folder
    return found


def _models_of(path: Path) -> list[ModelFolder]:
    if path.is_file():
        return [ModelFolder(path.stem, path.parent, {1: path.parent}, None, path.name)]
    if not path.is_dir():
        raise NotFoundError(f"failed to stat file {path}: model repository path '{path}' does not exist")
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [_model_folder(folder) for folder in folders]


def _model_folder(directory: Path) -> ModelFolder:
    versions = {int(entry.name): entry for entry in directory.iterdir() if _is_version(entry.name) and entry.is_dir()}
    config_file = directory / CONFIG_FILENAME
    return ModelFolder(
        name=directory.name,
        directory=directory,
        versions=dict(sorted(versions.items())),
        config_file=config_file if config_file.is_file() else None,
    )


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")
