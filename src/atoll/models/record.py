"""One model as its operations see it: whose turn it is, what is served, and what the repository index says of it."""

import threading
from collections.abc import Iterable, Mapping

from atoll.config.model_config import ModelConfig
from atoll.errors import AtollError, Code
from atoll.models.catalog import ModelKey
from atoll.models.ensembles.steps import StepVersion, nested_in
from atoll.models.events import ModelEvents
from atoll.models.index import IndexEntry
from atoll.models.lifecycle import ModelState
from atoll.models.served import Served
from atoll.repositories.repository import Repository

State = tuple[ModelState, str]

ASLEEP = "not in memory; loaded when a request asks for it"
UNLOADED: State = (ModelState.UNAVAILABLE, "unloaded")


class Record:
    """`operation` is held by whoever loads or unloads the model; `served` and `error` change under it.

    `error` is that of the last load, where it failed; `failed` says how far its versions came. `asked_for`: somebody
    named it, rather than an ensemble that it is a step of. `steps`: of an ensemble, the models of its steps;
    `step_names`: their names, before these were found. `awaiting`: it is loaded from there, with that configuration in
    place of the written one, as soon as these models are in order.
    """

    def __init__(self, key: ModelKey):
        self.key = key
        self.operation = threading.Lock()
        self.served: Served | None = None
        self.error: AtollError | None = None
        self.failed: Mapping[str, State] = {}
        self.asked_for = False
        self.steps: frozenset[ModelKey] = frozenset()
        self.step_names: frozenset[str] = frozenset()
        self.awaiting: tuple[Repository | None, ModelConfig | None] | None = None
        self._versions: Mapping[int, StepVersion] = {}
        self._gone: State = UNLOADED
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._loads = self._load_failures = self._unloads = 0

    # ---- a load

    def begin(self, versions: Iterable[int]) -> None:
        """These are being loaded; those of them that are served go on."""
        with self._lock:
            for version in versions:
                if self.served is None or version not in self.served.models:
                    self._states[str(version)] = (ModelState.LOADING, "")

    def succeed(self, served: Served) -> None:
        """This is served from now on."""
        with self._lock:
            self.served = served
            self._loads += 1
            self.error = None
            self.awaiting = None
            self._gone = UNLOADED
            self._states |= {str(version): (ModelState.READY, "") for version in served.models}

    def fail(self, error: AtollError) -> None:
        """The load failed; what was served is served on."""
        with self._lock:
            self.error = error
            self._load_failures += 1
            begun = {version for version, (state, _) in self._states.items() if state is ModelState.LOADING}
            failed = {**dict.fromkeys(begun, failure(error)), **self.failed}
            if self.served is None:
                self._states = failed
            else:
                stays = {str(version) for version in self.served.models}
                self._states |= {version: one for version, one in failed.items() if version not in stays}

    # ---- an unload

    def leave(self, versions: Iterable[str]) -> None:
        """These take no more requests."""
        with self._lock:
            self._states |= dict.fromkeys(versions, (ModelState.UNLOADING, ""))

    def left(self, versions: Iterable[str]) -> None:
        """These are gone, unless they have been loaded again meanwhile."""
        with self._lock:
            for version in versions:
                if self._states.get(version, UNLOADED)[0] is ModelState.UNLOADING:
                    self._states[version] = self._gone

    def fall(self, error: AtollError | None, *, asleep: bool = False) -> Served | None:
        """Nothing of it is served from now on: because of this error, or because somebody said so. Returns what was.

        What `versions` says of one that is asleep stays true.
        """
        with self._lock:
            before, self.served = self.served, None
            self._unloads += before is not None
            if not asleep:
                self._versions = {}
            elif before is not None:
                self._versions = _versions(before)
            self.error = error
            self._gone = failure(error) if error is not None else UNLOADED
        return before

    # ---- as a step of ensembles

    def versions(self) -> Mapping[int, StepVersion]:
        """What an ensemble may count on."""
        served = self.served
        return _versions(served) if served is not None else self._versions

    # ---- what is told of it

    def events(self) -> ModelEvents:
        """What has happened to it so far."""
        with self._lock:
            return ModelEvents(self.key.name, self._loads, self._load_failures, self._unloads)

    def entries(self, asleep: bool) -> list[IndexEntry]:
        """Its lines: one for each version that anybody tried to load, or one for the model."""
        name = self.key.name
        with self._lock:
            states = {} if asleep and self.served is None else dict(self._states)
            error = self.error
        if states:
            return [IndexEntry(name, version, state.value, reason) for version, (state, reason) in states.items()]
        if error is not None:
            return [IndexEntry(name, "", ModelState.UNAVAILABLE.value, str(error))]
        return [untried(self.key, asleep)]


def _versions(served: Served) -> dict[int, StepVersion]:
    steps = served.complete.steps
    return {
        version: StepVersion(model.config, model.labels, nested_in(steps[version]) if version in steps else 0)
        for version, model in served.models.items()
    }


def untried(key: ModelKey, asleep: bool) -> IndexEntry:
    """The line of a model that nobody has tried to load."""
    return IndexEntry(key.name, "", ModelState.UNAVAILABLE.value, ASLEEP) if asleep else IndexEntry(key.name)


def failure(error: BaseException) -> State:
    """The state of a version that could not be loaded, in the real server's form: `Internal: what happened`."""
    code = error.code if isinstance(error, AtollError) else Code.INTERNAL
    return ModelState.UNAVAILABLE, f"{code.value}: {error}"
