"""Which models are served, by name and version: the one place where a request finds its model."""

import threading
from collections.abc import Iterable, Mapping

from atoll.errors import AtollError, InvalidArgumentError, ModelAsleepError, NotFoundError, UnavailableError
from atoll.models.catalog import ModelKey
from atoll.models.model import Model


class ModelTable:
    """Thread-safe. Readers take no lock: writers replace what they change."""

    def __init__(self, *, namespacing: bool = False) -> None:
        self._namespacing = namespacing
        self._writing = threading.Lock()
        self._default: dict[str, Model] = {}  # the highest version of each name
        self._versions: dict[str, Mapping[str, Model]] = {}
        self._served: dict[ModelKey, Mapping[str, Model]] = {}
        self._known: dict[str, frozenset[str]] = {}  # the versions of each name that anybody ever tried to load
        self._asleep: frozenset[str] = frozenset()
        self._ambiguous: dict[str, int] = {}  # of each name that is served under several keys, how many
        self._leaving: dict[str, Mapping[str, Model]] = {}  # by whole name

    # ---- change

    def serve(self, key: ModelKey, models: Iterable[Model]) -> None:
        """From now on these versions are served under this key, instead of those before; none takes it out."""
        versions = {model.version: model for model in sorted(models, key=lambda model: int(model.version))}
        with self._writing:
            served = {other: one for other, one in self._served.items() if other != key}
            if versions:
                served[key] = versions
            self._served = served
            self._know(key.name, versions)
            of_name = [one for other, one in served.items() if other.name == key.name]
            whole = str(key)  # as ensembles call it; with a namespace it is more than the name
            without = {name: one for name, one in self._versions.items() if name not in (key.name, whole)}
            default = {name: one for name, one in self._default.items() if name not in (key.name, whole)}
            if versions and whole != key.name:
                without[whole] = versions
                default[whole] = list(versions.values())[-1]
            if len(of_name) == 1:
                without[key.name] = of_name[0]
                default[key.name] = list(of_name[0].values())[-1]
            ambiguous = {name: count for name, count in self._ambiguous.items() if name != key.name}
            if len(of_name) > 1:
                ambiguous[key.name] = len(of_name)
            self._ambiguous = ambiguous
            self._versions = without
            self._default = default
            if versions:
                self._asleep -= {key.name}

    def leave(self, key: ModelKey, models: Iterable[Model]) -> None:
        """These are not served any more, and still there for ensembles that have requests, until `left`."""
        versions = {model.version: model for model in sorted(models, key=lambda model: int(model.version))}
        with self._writing:
            self._leaving = {**self._leaving, str(key): versions}

    def left(self, key: ModelKey) -> None:
        """These are gone, unless one of that name is served or leaving again."""
        with self._writing:
            gone = not any(model.ready for model in self._leaving.get(str(key), _NONE).values())
            if gone:
                self._leaving = {name: one for name, one in self._leaving.items() if name != str(key)}

    def know(self, name: str, versions: Iterable[str] = ()) -> None:
        """Remember that somebody tried to load these versions: what asks for them hears that they are not ready."""
        with self._writing:
            self._know(name, versions)

    def _know(self, name: str, versions: Iterable[str]) -> None:
        self._known = {**self._known, name: self._known.get(name, frozenset()) | frozenset(versions)}

    def forget(self, name: str) -> None:
        """Nobody ever heard of this name."""
        with self._writing:
            self._known = {known: versions for known, versions in self._known.items() if known != name}

    def put_to_sleep(self, names: Iterable[str]) -> None:
        """Models that are not loaded until somebody asks for them: `find` then raises ModelAsleepError."""
        with self._writing:
            self._asleep |= frozenset(names)

    def wake(self, name: str) -> None:
        """The name is not asleep any more: it is served, or it is gone."""
        with self._writing:
            self._asleep -= {name}

    # ---- ask

    def find(self, name: str, version: str = "") -> Model:
        """The model that serves this name and version, "" meaning the highest.

        Raises NotFoundError, UnavailableError with the real server's words, ModelAsleepError for one that has to be
        loaded first.
        """
        model = self._default.get(name) if not version else self._versions.get(name, _NONE).get(version)
        if model is None:
            raise self._missing(name, version)
        if not model.ready:
            raise UnavailableError(f"Request for model: '{name}' version {model.version} is not at ready state")
        return model

    def find_leaving(self, name: str, version: str) -> Model | None:
        """One that `leave` named."""
        versions = self._leaving.get(name, _NONE)
        return versions.get(version) if version else next(reversed(list(versions.values())), None)

    def versions(self, name: str) -> Mapping[str, Model]:
        """The versions of this name that are served, in their numbers' order; none for an unknown name."""
        return self._versions.get(name, _NONE)

    def served(self, key: ModelKey) -> Mapping[str, Model]:
        """The versions that are served under this key, in their numbers' order."""
        return self._served.get(key, _NONE)

    def served_keys(self) -> list[ModelKey]:
        """What is served."""
        return sorted(self._served)

    def models(self) -> list[Model]:
        """All versions of all models, by name, then number."""
        return [model for _, versions in sorted(self._served.items()) for model in versions.values()]

    def chosen(self, name: str, version: str) -> list[Model]:
        """One version, all of a name, or, where both are "", all that are served. Raises InvalidArgumentError where
        there is none.
        """
        found = [
            model
            for model in self.models()
            if (not name or model.name == name) and (not version or model.version == version)
        ]
        if name and not found and not self.is_asleep(name):
            if version and self.versions(name):
                raise InvalidArgumentError(f"requested model version is not available for model '{name}'")
            raise InvalidArgumentError(f"requested model '{name}' is not available")
        return found

    def offers(self, name: str) -> bool:
        """Whether somebody may ask for this name: it is served, or waits to be asked for."""
        return bool(self.versions(name)) or self.is_asleep(name)

    def is_asleep(self, name: str) -> bool:
        """Whether the model waits to be asked for."""
        return name in self._asleep

    def _missing(self, name: str, version: str) -> AtollError:
        if name in self._asleep or (self._namespacing and bare(name) in self._asleep):
            return ModelAsleepError(f"Request for model: '{name}' is being loaded")
        if name in self._ambiguous:
            return ambiguous(name, self._ambiguous[name])
        known = self._known.get(name)
        prefix = f"Request for unknown model: '{name}'"
        if known is None:
            return NotFoundError(f"{prefix} is not found")
        if not version:
            return NotFoundError(f"{prefix} has no available versions")
        if version not in known:
            return NotFoundError(f"{prefix} version {version} is not found")
        return UnavailableError(f"{prefix} version {version} is not at ready state")


def bare(name: str) -> str:
    """The name of a model without its namespace."""
    return name.rpartition("::")[2]


def ambiguous(name: str, count: int) -> InvalidArgumentError:
    """In the real server's words."""
    return InvalidArgumentError(
        f"There are {count} identifiers of model '{name}' in global map, "
        "model namespace must be provided to resolve ambiguity."
    )


_NONE: Mapping[str, Model] = {}
