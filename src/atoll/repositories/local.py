"""Model repositories on local disk, in Triton's layout, and bare models: which models and versions are there.

Source for the layout: Triton's model repository documentation. Version folders are named by a whole number from 1
without leading zeros; everything else is ignored. Names that begin with a dot are not models.
"""

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from atoll.backends.model_kind import is_saved_model
from atoll.errors import ConfigError, NotFoundError
from atoll.repositories.fingerprint import token, version_number
from atoll.repositories.names import shown, why_impossible
from atoll.repositories.repository import ModelFolder
from atoll.repositories.tree import Bounds, cannot, inspect, listed, walk

CONFIG_FILENAME = "config.pbtxt"
MAX_MODELS = 100_000
_NO_MODELS = frozenset({"lost+found"})  # the file system's own, at the root of every mounted ext4 volume

log = logging.getLogger(__name__)


class LocalRepository:
    """A folder of models, or a bare model, which is a repository of one: a file, or a folder that is a TensorFlow
    SavedModel, named by its stem (and where that is a version's number, by the folder above).

    Every call looks at the disk anew. Names may come from clients. A symbolic link that leads out of the folder is an
    error of the model it is in, unless `external_symlinks`.
    """

    def __init__(self, location: str | Path, *, external_symlinks: bool = False) -> None:
        self.location = str(location)
        self._path = Path(location)
        self._external_symlinks = external_symlinks
        self._ignored: set[str] = set()  # folders that were warned about

    def names(self) -> list[str]:
        """The models that are there now, sorted; also those whose folder cannot be read, so that their error is seen.

        Raises NotFoundError where the location does not exist, ConfigError where it is no repository, UnavailableError
        where it cannot be listed.
        """
        if self._is_bare():
            return [self._bare_name()]
        entries = listed(self._path, MAX_MODELS)
        if len(entries) > MAX_MODELS:
            raise ConfigError(
                f"model repository path '{self._path}' holds more than {MAX_MODELS} entries; is it the right folder?"
            )
        return [name for name in entries if self._is_model(name)]

    def files(self, name: str) -> dict[str, str]:
        """Every file of the model to a token of its size, time and place on disk (see `Repository.files`).

        Raises NotFoundError for a model that is not there, ConfigError for what a model's folder must not contain,
        UnavailableError for what cannot be read.
        """
        if self._is_bare():
            status = self._bare(name)
            if not stat.S_ISDIR(status.st_mode):
                return {self._path.name: token(status)}
            path = self._path.absolute()
            return {f"{path.name}/{file}": token(status) for file, status in walk(path, self._bounds())}
        return {path: token(status) for path, status in walk(self._directory(name), self._bounds())}

    def folder(self, name: str) -> ModelFolder:
        """The model where it lies, looked at file by file. Raises what `files` raises."""
        if self._is_bare():
            if stat.S_ISDIR(self._bare(name).st_mode):
                for _ in walk(self._path, self._bounds()):
                    pass
            path = self._path.absolute()
            return ModelFolder(name, path.parent, {1: path.parent}, self.location, path.name)
        directory = self._directory(name)
        return model_folder(name, directory, self.location, [os.path.realpath(self._path)], self._external_symlinks)

    def release(self, folder: ModelFolder) -> None:
        """Nothing to do: the files lie where they are."""

    def close(self) -> None:
        """Nothing to do."""

    def server_config(self) -> Path | None:
        """config.pbtxt at the root, where there is one.

        Raises what `names` raises for the location, ConfigError and UnavailableError for the file itself.
        """
        if self._is_bare():
            return None
        file = self._path / CONFIG_FILENAME
        status = inspect(file, self._bounds())
        return file if status is not None and stat.S_ISREG(status.st_mode) else None

    def _is_bare(self) -> bool:
        """Whether the location is a bare model, rather than a folder of models; an error where it is neither."""
        try:
            mode = os.stat(self._path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"failed to stat file {self._path}: model repository path '{self._path}' does not exist; check "
                "--model-repository and what is mounted there"
            ) from None
        except OSError as error:
            raise cannot("look at the model repository", self._path, error) from None
        except ValueError as error:
            raise ConfigError(f"model repository path {self.location!r} is no path: {error}") from None
        if stat.S_ISREG(mode):
            return True
        if not stat.S_ISDIR(mode):
            raise ConfigError(
                f"model repository path '{self._path}' is neither a folder nor a model file; name the folder that "
                "holds the models' folders"
            )
        return is_saved_model(self._path)

    def _is_model(self, name: str) -> bool:
        if name.startswith(".") or name in _NO_MODELS:
            return False
        path = self._path / name
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:
            is_folder = os.path.islink(path)  # to nowhere: `folder` says so
        except OSError:
            is_folder = True  # and `folder` says why it cannot be read
        reason = why_impossible(name) if is_folder else None
        if reason is not None and name not in self._ignored:
            self._ignored.add(name)
            log.warning("'%s' in repository '%s' is ignored: %s", shown(name), self.location, reason)
        return is_folder and reason is None

    def _bounds(self) -> Bounds:
        return Bounds((os.path.realpath(self._path),), self._external_symlinks)

    def _bare_name(self) -> str:
        path = self._path.absolute()
        return path.parent.name if version_number(path.name) is not None and path.parent.name else path.stem

    def _bare(self, name: str) -> os.stat_result:
        """The state of the one file or folder; NotFoundError for another model's name."""
        status = None
        if name == self._bare_name():
            status = inspect(self._path, Bounds((), external_symlinks=True))  # the operator named it, link or not
        if status is None:
            raise self._not_found(name)
        return status

    def _directory(self, name: str) -> Path:
        reason = why_impossible(name)
        if reason is not None:
            raise self._not_found(name, reason)
        directory = self._path / name
        status = inspect(directory, self._bounds()) if name not in _NO_MODELS else None
        if status is None or not stat.S_ISDIR(status.st_mode):
            raise self._not_found(name)
        return directory

    def _not_found(self, name: str, reason: str = "") -> NotFoundError:
        reason = reason or "there is no folder of that name"
        return NotFoundError(f"model '{shown(name)}' not found in model repository '{self.location}': {reason}")


def model_folder(
    name: str, directory: Path, location: str, roots: Sequence[str], external_symlinks: bool
) -> ModelFolder:
    """The model in `directory`, every file of it looked at; links may lead to the real paths `roots`, the first of
    which is named in errors, and below.

    Raises NotFoundError, ConfigError, UnavailableError as `LocalRepository.files` does.
    """
    bounds = Bounds(tuple(roots), external_symlinks)
    for _ in walk(directory, bounds):
        pass
    versions = {}
    for entry in listed(directory):
        number = version_number(entry)
        status = None if number is None else inspect(directory / entry, bounds)
        if number is not None and status is not None and stat.S_ISDIR(status.st_mode):
            versions[number] = directory / entry
    return ModelFolder(name, directory, dict(sorted(versions.items())), location)
