"""Models that are in memory only while they are used: loaded when first asked for, unloaded when others need the room.

One thread loads, one model after the other, so that the growth of the process can be put down to the model.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic, monotonic_ns, sleep

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.models.budget import Resident, choose_victims
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.control import ModelControl
from atoll.models.table import ModelTable
from atoll.repositories.lease import leased
from atoll.repositories.repository import ModelFolder, Repository

logger = logging.getLogger(__name__)

Then = Callable[[AtollError | None], None]

_ROOM_WAIT_S = 10.0  # for a busy model to become idle, before those who wait for another are told that there is no room
_LOOK_S = 0.02


class Residency:
    """Keeps the models' measured memory within `budget` bytes. Thread-safe."""

    def __init__(self, catalog: Catalog, control: ModelControl, table: ModelTable, budget: int):
        self.budget = budget
        self._catalog = catalog
        self._control = control
        self._table = table
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Then]] = {}
        self._sizes: dict[str, int] = {}  # as measured when last loaded
        self._too_large: dict[str, dict[str, str]] = {}  # models that can never fit, as their files were
        self._wanted: SimpleQueue[str | None] = SimpleQueue()  # names to load; None ends the thread
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="wake", daemon=True)
        self._thread.start()

    def wake(self, name: str, then: Then) -> None:
        """Load the model unless it is loaded; `then` gets None, or the error, from any thread."""
        if not self._table.is_asleep(name):
            then(None)
            return
        with self._lock:
            if not self._stopped:
                waiting = self._waiting.get(name)
                if waiting is not None:
                    waiting.append(then)
                    return
                self._waiting[name] = [then]
                self._wanted.put(name)
                return
        then(UnavailableError(f"Request for model: '{name}' came while the server is stopping"))

    def load(self, name: str) -> None:
        """Load the model now; returns when it is served. Raises AtollError."""
        answered = threading.Event()
        errors: list[AtollError | None] = []

        def then(error: AtollError | None) -> None:
            errors.append(error)
            answered.set()

        if not self._table.versions(name):
            self._catalog.find(name)
            self._table.put_to_sleep([name])
        self.wake(name, then)
        answered.wait()
        if errors[0] is not None:
            raise errors[0]

    def _run(self) -> None:
        while (name := self._wanted.get()) is not None and not self._stopped:
            self._wake(name)

    def _wake(self, name: str) -> None:
        error: AtollError | None = None
        try:
            if self._table.is_asleep(name):
                self._load(name)
        except UnavailableError as known:
            error = known
        except AtollError as known:
            error = UnavailableError(f"Request for model: '{name}' cannot be served, it failed to load: {known}")
        except Exception as unknown:
            logger.exception("loading '%s' on demand failed", name)
            error = InternalError(f"{type(unknown).__name__}: {unknown}")
        with self._lock:
            waiting = self._waiting.pop(name, [])
        for then in waiting:
            then(error)

    def _load(self, name: str) -> None:
        for key, repository in self._catalog.find(name).items():
            self._load_one(key, repository)

    def _load_one(self, key: ModelKey, repository: Repository) -> None:
        name = key.name
        files = repository.files(name)
        if self._too_large.get(name) == files:
            raise self._no_use(name, self._sizes[name])  # to load it again would push out others for nothing
        size = self._sizes.get(name)
        if size is None:  # a guess, which alone refuses nothing
            with leased(repository, name) as folder:
                size = min(_on_disk(folder), self.budget)
        self._make_room(key, min(size, self.budget))
        self._control.load_key(key, repository)
        self._sizes[name] = size = sum(model.memory_bytes for model in self._table.served(key).values())
        logger.info("'%s' takes %d bytes of the budget of %d", name, size, self.budget)
        if size > self.budget:
            self._control.unload_key(key, asleep=True)
            self._too_large[name] = files
            raise self._no_use(name, size)
        try:
            self._make_room(key, 0)
        except UnavailableError:
            self._control.unload_key(key, asleep=True)
            raise

    def _no_use(self, name: str, size: int) -> UnavailableError:
        return UnavailableError(
            f"model '{name}' takes {size} bytes, more than --model-memory-budget allows in all ({self.budget}); "
            "raise the budget, or serve the model elsewhere"
        )

    def _make_room(self, key: ModelKey, needed: int) -> None:
        """Unload idle models, least recently used first, until this one fits. Raises UnavailableError when those that
        are in memory stay busy.
        """
        give_up = monotonic() + _ROOM_WAIT_S
        while True:
            others, own = [], needed
            for other in self._table.served_keys():
                models = self._table.served(other).values()
                size = sum(model.memory_bytes for model in models)
                if other == key:
                    own += size
                    continue
                busy = any(model.in_flight() for model in models)
                others.append(Resident(other.name, size, max((m.last_used_ns for m in models), default=0), busy))
            victims = choose_victims(others, own, self.budget)
            if victims is not None:
                break
            if self._stopped or monotonic() > give_up:
                raise UnavailableError(
                    f"no room for model '{key.name}' ({own} bytes): all other models in memory are busy, and together "
                    f"they would exceed --model-memory-budget ({self.budget} bytes)"
                )
            sleep(_LOOK_S)
        for name in victims:
            victim = next((one for one in self._table.served_keys() if one.name == name), None)
            if victim is not None:
                logger.info("unloading '%s', the least recently used, to make room for '%s'", name, key.name)
                self._control.unload_key(victim, asleep=True)

    def stop(self, deadline_ns: int) -> None:
        """Load nothing more; who still waits is told so. A load that outlasts the deadline is left behind."""
        with self._lock:
            self._stopped = True
        self._wanted.put(None)
        self._thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9 + 1)
        with self._lock:
            waiting = [then for group in self._waiting.values() for then in group]
            self._waiting.clear()
        for then in waiting:
            then(UnavailableError("Server is stopping: models are not loaded any more"))


def _on_disk(folder: ModelFolder) -> int:
    """The bytes of the newest version's files: a guess for a model that was never measured."""
    newest = list(folder.versions.values())[-1:]
    return sum(file.stat().st_size for directory in newest for file in directory.rglob("*") if file.is_file())
