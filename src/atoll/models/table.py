"""Which models are there, by name and version: the one place where a request finds its model."""

import threading
from collections.abc import Iterable

from atoll.errors import AtollError, NotFoundError, UnavailableError
from atoll.models.model import Model


class ModelTable:
    """Thread-safe. Readers take no lock: writers replace what they change."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._default: dict[str, Model] = {}  # the highest version of each name
        self._versions: dict[str, dict[str, Model]] = {}
        self._failures: dict[str, AtollError] = {}

    def add(self, models: Iterable[Model]) -> None:
        """Take in the versions of one model, which serve from now on."""
        versions = {model.version: model for model in models}
        highest = max(versions.values(), key=lambda model: int(model.version))
        with self._writing:
            self._versions = {**self._versions, highest.name: versions}
            self._default = {**self._default, highest.name: highest}

    def fail(self, name: str, error: AtollError) -> None:
        """Remember that this model could not be loaded, and why."""
        with self._writing:
            self._failures = {**self._failures, name: error}

    def find(self, name: str, version: str = "") -> Model:
        """The model that serves this name and version, "" meaning the highest.

        Raises NotFoundError, UnavailableError with the real server's words.
        """
        model = self._default.get(name) if not version else self._versions.get(name, {}).get(version)
        if model is None:
            raise self._missing(name, version)
        if not model.ready:
            raise UnavailableError(f"Request for model: '{name}' version {model.version} is not at ready state")
        return model

    def versions(self, name: str) -> dict[str, Model]:
        """The versions of this name that are there, in their numbers' order; none for an unknown name."""
        return self._versions.get(name, {})

    def models(self) -> list[Model]:
        """All versions of all models, by name, then number."""
        return [
            model
            for _, versions in sorted(self._versions.items())
            for model in sorted(versions.values(), key=lambda one: int(one.version))
        ]

    def failures(self) -> dict[str, AtollError]:
        """The models that could not be loaded, and why."""
        return dict(sorted(self._failures.items()))

    def _missing(self, name: str, version: str) -> NotFoundError:
        if name in self._failures:
            return NotFoundError(f"Request for unknown model: '{name}' has no available versions: it failed to load")
        if name in self._versions:
            return NotFoundError(f"Request for unknown model: '{name}' version {version} is not found")
        return NotFoundError(f"Request for unknown model: '{name}' is not found")
