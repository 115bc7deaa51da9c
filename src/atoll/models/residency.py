"""Models that are in memory only while they are used: loaded when first asked for, unloaded when others need the room.

Models load one after the other, so that the growth of the process can be put down to the model. What requests wait for
is loaded by a thread of its own, what clients or the poll loop ask for by theirs.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from time import monotonic, monotonic_ns, sleep

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.models.budget import Resident, choose_victims
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.control import ModelControl
from atoll.models.ensembles.load_order import StepsFirst, Turn
from atoll.models.table import ModelTable, ambiguous
from atoll.repositories.lease import leased
from atoll.repositories.repository import ModelFolder, Repository

logger = logging.getLogger(__name__)

Then = Callable[[AtollError | None], None]

_ROOM_WAIT_S = 10.0  # for a busy model to become idle, before those who wait for another are told that there is no room
_LOOK_S = 0.02


class Residency:
    """Keeps the models' measured memory within `budget` bytes. `has_settled` says whether a model's files are no longer
    being copied. Thread-safe."""

    def __init__(
        self,
        catalog: Catalog,
        control: ModelControl,
        table: ModelTable,
        budget: int,
        has_settled: Callable[[ModelKey, Mapping[str, str]], bool],
    ):
        self.budget = budget
        self._has_settled = has_settled
        self._catalog = catalog
        self._control = control
        self._table = table
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # of whoever loads; taken before a model's own
        self._waiting: dict[str, list[Then]] = {}
        self._sizes: dict[ModelKey, int] = {}  # as measured when last loaded
        self._too_large: dict[ModelKey, dict[str, str]] = {}  # models that can never fit, as their files were
        self._wanted: SimpleQueue[str | None] = SimpleQueue()  # names to load; None ends the thread
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="wake", daemon=True)

    def start(self) -> None:
        """From now on models are loaded, until `stop`."""
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

    def load(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """As `ModelControl.load`, and make room for it first. Raises UnavailableError where there is none."""
        with self._turn:
            keys = [key for key in self._table.served_keys() if key.name == name]
            try:
                found = self._catalog.find(name)
            except AtollError:
                found = {}  # it comes with its files, or the load says what is wrong
            for key, repository in found.items():
                coming = sum(map(len, files.values())) if files else self._size(key, repository)
                self._make_room(key, min(coming, self.budget))
            before = set(self._table.served_keys())
            self._control.load(name, config=config, files=files)
            models = {**self._catalog.list().models, **found}
            for key in [*keys, *(key for key in self._table.served_keys() if key not in before)]:
                self._settle(key, models.get(key))

    def follow(self, due: Mapping[ModelKey, Repository]) -> dict[ModelKey, AtollError]:
        """These have changed: what of them is in memory is loaded anew, the others when somebody asks for them. Returns
        which failed.
        """
        failed: dict[ModelKey, AtollError] = {}
        for key, repository in due.items():
            with self._turn:
                if not self._table.served(key):
                    self._table.put_to_sleep([key.name])
                    continue
                try:
                    self._make_room(key, self._size(key, repository))
                    self._control.load_key(key, repository)
                    self._settle(key, repository)
                except AtollError as error:
                    logger.error("'%s' was not loaded anew: %s", key, error)
                    failed[key] = error
        return failed

    def _run(self) -> None:
        while (name := self._wanted.get()) is not None and not self._stopped:
            self._wake(name)

    def _wake(self, name: str) -> None:
        error: AtollError | None = None
        try:
            with self._turn:
                if self._table.is_asleep(name):
                    found = self._catalog.find(name)
                    if len(found) == 1:
                        self._load(*found.popitem())
                    else:
                        error = ambiguous(name, len(found))  # no request could choose one of them
        except UnavailableError as known:
            error = known.with_traceback(None)  # which would hold this frame, and with it who waits
        except AtollError as known:
            error = UnavailableError(f"Request for model: '{name}' cannot be served, it failed to load: {known}")
        except Exception as unknown:
            logger.exception("loading '%s' on demand failed", name)
            error = InternalError(f"{type(unknown).__name__}: {unknown}")
        with self._lock:
            waiting = deque(self._waiting.pop(name, ()))
        while waiting:
            waiting.popleft()(error)

    def _load(self, key: ModelKey, repository: Repository, way: tuple[ModelKey, ...] = ()) -> None:
        """`way`: the ensembles of which it is a step of a step of ..."""
        files = repository.files(key.name)
        if not self._has_settled(key, files):
            raise UnavailableError(
                f"Request for model: '{key.name}' came while its files are changing; it is loaded when they have been "
                "the same for --repository-settle-secs"
            )
        if self._too_large.get(key) == files:
            raise self._no_use(key)  # to load it again would push out others for nothing
        self._make_room(key, self._size(key, repository))
        turn = Turn(key, repository)
        try:
            self._control.load_turn(turn, asleep=True)
        except StepsFirst as first:
            circle: tuple[ModelKey, ...] = ()
            way = (*way, key)
            for step, place in first.steps.items():
                if step in way:
                    circle = (key, *way[way.index(step) : -1])
                elif place is not None:
                    self._load_step(step, place, way)
            self._control.load_turn(Turn(key, repository, True, circle), asleep=True)
        if self._table.served(key):
            self._settle(key, repository, files)

    def _load_step(self, key: ModelKey, repository: Repository, way: tuple[ModelKey, ...]) -> None:
        try:
            self._load(key, repository, way)
        except AtollError as error:
            logger.error("'%s', a step of '%s', was not loaded: %s", key, way[-1], error)  # so says the ensemble then

    def _size(self, key: ModelKey, repository: Repository) -> int:
        """The bytes to make room for: as measured before, or a guess, which alone refuses nothing."""
        size = self._sizes.get(key)
        if size is None:
            try:
                with leased(repository, key.name) as folder:
                    size = _on_disk(folder)
            except AtollError:
                return 0  # the load will say what is wrong
        return min(size, self.budget)

    def _settle(self, key: ModelKey, repository: Repository | None, files: Mapping[str, str] | None = None) -> None:
        """Look at what a model takes that has just been loaded. It goes again, and UnavailableError is raised, where it
        does not fit.
        """
        self._sizes[key] = size = sum(model.memory_bytes for model in self._table.served(key).values())
        logger.info("'%s' takes %d bytes of the budget of %d", key, size, self.budget)
        if size > self.budget:
            if files is not None:
                self._too_large[key] = dict(files)
            self._control.unload_key(key, asleep=repository is not None)
            raise self._no_use(key)
        try:
            self._make_room(key, 0)
        except UnavailableError:
            self._control.unload_key(key, asleep=repository is not None)
            raise

    def _no_use(self, key: ModelKey) -> UnavailableError:
        return UnavailableError(
            f"model '{key}' takes {self._sizes[key]} bytes, more than --model-memory-budget allows in all "
            f"({self.budget}); raise the budget, or serve the model elsewhere"
        )

    def _make_room(self, key: ModelKey, needed: int) -> None:
        """Unload idle models, least recently used first, until this one fits. Raises UnavailableError when those that
        are in memory stay busy. While a model is loaded anew both are in memory, and may be more than the budget.
        """
        give_up = monotonic() + _ROOM_WAIT_S
        while True:
            others, own = [], needed
            keys = {str(one): one for one in self._table.served_keys()}
            for name, other in keys.items():
                models = self._table.served(other).values()
                size = sum(model.memory_bytes for model in models)
                if other == key:
                    own = min(own + size, max(self.budget, size))
                    continue
                busy = any(model.is_busy() for model in models) or self._control.is_overridden(other)
                others.append(Resident(name, size, max((m.last_used_ns for m in models), default=0), busy))
            victims = choose_victims(others, own, self.budget)
            if victims is not None:
                break
            if self._stopped or monotonic() > give_up:
                raise UnavailableError(
                    f"no room for model '{key}' ({own} bytes): all other models in memory are busy, or were loaded "
                    "with a configuration or files of a request, and together they would exceed --model-memory-budget "
                    f"({self.budget} bytes)"
                )
            sleep(_LOOK_S)
        for name in victims:
            logger.info("unloading '%s', the least recently used, to make room for '%s'", name, key)
            self._control.unload_key(keys[name], asleep=True)

    def stop(self, deadline_ns: int) -> None:
        """Load nothing more; who still waits is told so. A load that outlasts the deadline is left behind."""
        with self._lock:
            self._stopped = True
        self._wanted.put(None)
        if self._thread.ident is not None:
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
