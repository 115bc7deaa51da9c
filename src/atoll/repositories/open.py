"""From what the operator gave as a model repository to the repository: a folder, a bare file, or an object store."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from atoll.errors import NotFoundError
from atoll.repositories.local import LocalRepository
from atoll.repositories.object_store import ObjectStoreRepository, Progress, is_object_store
from atoll.repositories.repository import ModelFolder, Repository

Opener = Callable[[str], Repository]


def open_repository(
    location: str,
    *,
    cache_directory: str = "",
    external_symlinks: bool = False,
    environment: Mapping[str, str],
    on_progress: Progress | None = None,
) -> Repository:
    """The repository at this path or URL. Nothing is read yet. Raises ConfigError for a URL that is none."""
    if is_object_store(location):
        return ObjectStoreRepository(
            location,
            cache_directory=Path(cache_directory) if cache_directory else None,
            environment=environment,
            on_progress=on_progress,
        )
    return LocalRepository(location, external_symlinks=external_symlinks)


class ListedModel:
    """A repository of the one model that the server's configuration file lists by name and place."""

    def __init__(self, name: str, location: str, open_one: Opener):
        self.location = location
        self._name = name
        parent, _, self._folder_name = location.rstrip("/").rpartition("/")
        self._inner = open_one(parent or "/")

    def names(self) -> list[str]:
        return [self._name]

    def files(self, name: str) -> dict[str, str]:
        self._demand(name)
        return self._inner.files(self._folder_name)

    def folder(self, name: str) -> ModelFolder:
        self._demand(name)
        return replace(self._inner.folder(self._folder_name), name=self._name, repository=self.location)

    def release(self, folder: ModelFolder) -> None:
        self._inner.release(folder)

    def close(self) -> None:
        self._inner.close()

    def server_config(self) -> Path | None:
        return None

    def _demand(self, name: str) -> None:
        if name != self._name:
            raise NotFoundError(f"'{self.location}' is model '{self._name}', not '{name}'")
