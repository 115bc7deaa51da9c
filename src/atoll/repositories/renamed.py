"""A repository some of whose models are served under other names than their folders'."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from atoll.errors import NotFoundError
from atoll.repositories.repository import ModelFolder, Repository


class RenamedRepository:
    """`names`: folders' names to those under which the models are served; a folder that it does not name keeps its own.

    A folder whose new name another folder bears hides that one. Thread-safe.
    """

    def __init__(self, inner: Repository, names: Mapping[str, str]):
        self.location = inner.location
        self.served_names = frozenset(names.values())
        self._inner = inner
        self._names = dict(names)
        self._folders = {served: folder for folder, served in names.items()}

    def names(self) -> list[str]:
        return sorted({self._names.get(name, name) for name in self._inner.names()})

    def files(self, name: str) -> dict[str, str]:
        return self._inner.files(self._folder(name))

    def folder(self, name: str) -> ModelFolder:
        found = self._inner.folder(self._folder(name))
        return found if found.name == name else replace(found, name=name, renamed=True)

    def release(self, folder: ModelFolder) -> None:
        self._inner.release(replace(folder, name=self._folder(folder.name), renamed=False))

    def close(self) -> None:
        self._inner.close()

    def server_config(self) -> Path | None:
        return self._inner.server_config()

    def _folder(self, name: str) -> str:
        if name in self._folders:
            return self._folders[name]
        if name in self._names:
            raise NotFoundError(f"model '{name}' of '{self.location}' is served as '{self._names[name]}'")
        return name
