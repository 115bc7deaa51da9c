"""Following the repositories: a thread that looks every few seconds, and loads what has changed and come to rest."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic_ns

from atoll.errors import AtollError
from atoll.models.catalog import Catalog, ModelKey
from atoll.repositories.repository import Repository
from atoll.repositories.watcher import Watch

logger = logging.getLogger(__name__)

NS_PER_SECOND = 1_000_000_000
LONGEST_RETRY_NS = 600 * NS_PER_SECOND

LoadAll = Callable[[Mapping[ModelKey, Repository]], Mapping[ModelKey, AtollError]]
Unload = Callable[[ModelKey], None]
START_SETTLES = 5  # times the settling time that start-up waits for files that keep changing


@dataclass(slots=True)
class _Retry:
    """A model that failed to load is tried again even if nobody touches it, at growing intervals: what was missing may
    lie elsewhere (memory, a store, a package).
    """

    at_ns: int
    after_ns: int


class Poller:
    """Owns its thread, from `start` to `stop`. `load_all` and `unload` are called on that thread; `load_all` returns
    which models failed, and reports it.
    """

    def __init__(self, catalog: Catalog, load_all: LoadAll, unload: Unload, *, interval_s: float, settle_s: float):
        self._catalog = catalog
        self._load_all = load_all
        self._unload = unload
        self._interval_ns = int(interval_s * NS_PER_SECOND)
        self._settle_ns = int(settle_s * NS_PER_SECOND)
        self._watches: dict[ModelKey, Watch] = {}
        self._places: dict[ModelKey, str] = {}  # the repository in which each was last seen
        self._retries: dict[ModelKey, _Retry] = {}
        self._complaints: dict[str, str] = {}
        self.clashes: Mapping[ModelKey, AtollError] = {}  # at the last look
        self._turn = threading.Lock()  # one look at a time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)

    def start(self) -> None:
        """Look at the repositories until all in them has come to rest, loading it; then go on in the background.

        A model whose files keep changing is left to the background.
        """
        give_up_ns = monotonic_ns() + START_SETTLES * self._settle_ns
        self.look(monotonic_ns())
        while self._unsettled() and monotonic_ns() < give_up_ns:
            if self._stop.wait(self._settle_ns / NS_PER_SECOND):
                return
            self.look(monotonic_ns())
        self._thread.start()

    def has_settled(self, key: ModelKey, files: Mapping[str, str]) -> bool:
        """Whether these are the model's files as they were when they last came to rest."""
        watch = self._watches.get(key)
        return watch is not None and watch.known == files

    def cease(self) -> None:
        """Look no more. What is being loaded goes on."""
        self._stop.set()

    def stop(self, deadline_ns: int) -> None:
        """End the thread, which finishes what it is loading; after the deadline it is left to that."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(max(deadline_ns - monotonic_ns(), 0) / NS_PER_SECOND + 1)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_ns() / NS_PER_SECOND):
            try:
                self.look(monotonic_ns())
            except Exception:
                logger.exception("looking at the model repositories failed; polling goes on")

    def _unsettled(self) -> bool:
        return any(watch.unsettled for watch in self._watches.values())

    def _pause_ns(self) -> int:
        return min(self._interval_ns, self._settle_ns) if self._unsettled() else self._interval_ns

    def look(self, now_ns: int) -> None:
        """Compare what is there now with what was, and act on what has settled. From any thread."""
        with self._turn:
            if not self._stop.is_set():
                self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        listing = self._catalog.list()
        for location, error in listing.unreachable.items():
            self._complain(
                location, f"model repository '{location}' cannot be polled, its models stay as they are: {error}"
            )
        for location in self._complaints.keys() & {one.location for one in self._catalog.repositories}:
            if location not in listing.unreachable:
                logger.info("model repository '%s' can be polled again", location)
                del self._complaints[location]
        self.clashes = listing.clashes
        for key, error in listing.clashes.items():
            self._complain(str(key), str(error))
        self._act({key: one for key, one in listing.models.items() if self._is_due(key, one, now_ns)}, now_ns)
        for key in self._watches.keys() - listing.models.keys() - listing.clashes.keys():
            if self._stop.is_set():
                return
            if self._places[key] in listing.unreachable:
                continue  # nobody knows whether it is gone
            if self._watches[key].observe({}, now_ns) is not None or not self._watches[key].known:
                del self._watches[key], self._places[key]
                self._retries.pop(key, None)
                self._complaints.pop(str(key), None)
                self._unload(key)

    def _is_due(self, key: ModelKey, repository: Repository, now_ns: int) -> bool:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(self._settle_ns)
        self._places[key] = repository.location
        try:
            files = repository.files(key.name)
        except AtollError as error:
            self._complain(str(key), f"model '{key}' cannot be polled and stays as it is: {error}")
            return False
        self._complaints.pop(str(key), None)
        if watch.observe(files, now_ns) is not None:
            self._retries.pop(key, None)
            return True
        retry = self._retries.get(key)
        return retry is not None and now_ns >= retry.at_ns and not watch.unsettled

    def _act(self, due: Mapping[ModelKey, Repository], now_ns: int) -> None:
        failed = self._load_all(due) if due else {}
        for key in due:
            before = self._retries.pop(key, None)
            if key in failed:
                after_ns = 2 * before.after_ns if before is not None else max(self._interval_ns, NS_PER_SECOND)
                after_ns = min(after_ns, LONGEST_RETRY_NS)
                self._retries[key] = _Retry(now_ns + after_ns, after_ns)

    def _complain(self, about: str, text: str) -> None:
        """Once for each new text: a poll comes every few seconds."""
        if self._complaints.get(about) != text:
            self._complaints[about] = text
            logger.error("%s", text)
