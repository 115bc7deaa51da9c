"""A model's folder on disk, for as long as somebody needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from atoll.repositories.repository import ModelFolder, Repository


class Lease:
    """One folder that a repository gave, and how many hold it: one at first. Thread-safe."""

    def __init__(self, repository: Repository, folder: ModelFolder):
        self.folder = folder
        self._repository = repository
        self._lock = threading.Lock()
        self._holders = 1

    def hold(self) -> Self:
        """One more needs it, and will `drop` it."""
        with self._lock:
            assert self._holders, f"'{self.folder.directory}' was given back already. This is a bug"
            self._holders += 1
        return self

    def drop(self) -> None:
        """One fewer needs it; the last one gives it back to the repository."""
        with self._lock:
            self._holders -= 1
            last = not self._holders
        if last:
            self._repository.release(self.folder)


@contextmanager
def leased(repository: Repository, name: str) -> Iterator[ModelFolder]:
    """The model's folder, for the length of the block. Raises as `Repository.folder` does."""
    folder = repository.folder(name)
    try:
        yield folder
    finally:
        repository.release(folder)
