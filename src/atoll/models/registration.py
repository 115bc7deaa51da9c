"""Repositories that come and go while the server runs: registered and unregistered by who controls it explicitly."""

import threading
from collections.abc import Callable, Mapping

from atoll.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, UnsupportedError
from atoll.models.catalog import Catalog
from atoll.repositories.names import shown, why_impossible
from atoll.repositories.object_store import is_object_store
from atoll.repositories.renamed import RenamedRepository
from atoll.repositories.repository import Repository


class Registration:
    """The error texts are the real server's. Thread-safe."""

    def __init__(self, catalog: Catalog, open_one: Callable[[str], Repository], *, explicit: bool):
        self._catalog = catalog
        self._open = open_one
        self._explicit = explicit
        self._lock = threading.Lock()
        self._left: list[Repository] = []  # whose files on disk may still be served

    def register(self, location: str, names: Mapping[str, str]) -> None:
        """Look into this repository, too. `names`: folders' names to those under which their models are served.

        Raises UnsupportedError unless models are loaded explicitly, AlreadyExistsError where the repository, or one of
        the new names, is registered, NotFoundError where there is no repository, InvalidArgumentError for an impossible
        name or one name for two folders, and ConfigError for an URL that is none.
        """
        self._demand_explicit("registration")
        if len(set(names.values())) < len(names):
            raise InvalidArgumentError(f"failed to register '{location}', two folders are given one name")
        for name in names.values():
            reason = why_impossible(name)
            if reason is not None:
                raise InvalidArgumentError(f"failed to register '{location}' with the name '{shown(name)}': {reason}")
        with self._lock:
            self._demand_new(location, names)
            repository = self._open(location)
            try:
                repository.names()
            except NotFoundError as error:
                repository.close()
                raise NotFoundError(f"failed to register '{location}', repository not found: {error}") from None
            except BaseException:
                repository.close()
                raise
            self._catalog.add(RenamedRepository(repository, names) if names else repository)

    def unregister(self, location: str) -> None:
        """Look into it no more. What was loaded from it goes on until it is unloaded. Raises NotFoundError,
        UnsupportedError.
        """
        self._demand_explicit("unregistration")
        with self._lock:
            for repository in self._catalog.repositories:
                if repository.location == location:
                    self._catalog.remove(repository)
                    if is_object_store(location):
                        self._left.append(repository)
                    else:
                        repository.close()
                    return
        raise NotFoundError(f"failed to unregister '{location}', repository not found")

    def close(self) -> None:
        """Nothing is served any more."""
        with self._lock:
            left, self._left = self._left, []
        for repository in left:
            repository.close()

    def _demand_explicit(self, what: str) -> None:
        if not self._explicit:
            raise UnsupportedError(f"repository {what} is not allowed if model control mode is not EXPLICIT")

    def _demand_new(self, location: str, names: Mapping[str, str]) -> None:
        for repository in self._catalog.repositories:
            if repository.location == location:
                raise AlreadyExistsError(f"model repository '{location}' has already been registered")
            given = repository.served_names if isinstance(repository, RenamedRepository) else frozenset()
            taken = given & set(names.values())
            if taken and not self._catalog.namespacing:
                name = min(taken)
                raise AlreadyExistsError(f"failed to register '{name}', there is a conflicting mapping for '{name}'")
