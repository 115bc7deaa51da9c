"""The records of all models: the turns that are taken at each, and what they say together."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from atoll.errors import AtollError, UnavailableError
from atoll.models.catalog import Listing, ModelKey
from atoll.models.events import ModelEvents, added_up
from atoll.models.index import IndexEntry
from atoll.models.lifecycle import ModelState
from atoll.models.record import Record, untried


class Records:
    """`refusing`: no more turns are given; `stopped`: nor do those that wait for theirs get it. `is_asleep`: whether a
    model waits, by its name, to be asked for. Thread-safe.
    """

    def __init__(self, is_asleep: Callable[[str], bool]) -> None:
        self._is_asleep = is_asleep
        self._lock = threading.Lock()
        self._records: dict[ModelKey, Record] = {}
        self.refusing = False
        self.stopped = False

    def get(self, key: ModelKey) -> Record | None:
        """None for a model that nobody ever tried to load."""
        return self._records.get(key)

    def all(self) -> list[Record]:
        """Those that there are now."""
        with self._lock:
            return list(self._records.values())

    def of_name(self, name: str) -> list[Record]:
        """Several only with namespaces."""
        return [record for record in self.all() if record.key.name == name]

    def forget(self, record: Record) -> None:
        """Nobody ever tried to load it. The caller has its turn."""
        with self._lock:
            self._records.pop(record.key, None)

    @contextmanager
    def operation(self, key: ModelKey) -> Iterator[Record]:
        """This model's turn: one operation at a time. Raises UnavailableError while the server stops."""
        if self.refusing:
            raise stopping()
        while True:
            with self._lock:
                record = self._records.setdefault(key, Record(key))
            with record.operation:
                if self.stopped:
                    raise stopping()
                if self._records.get(key) is record:
                    yield record
                    return
                # it was forgotten meanwhile, and another may have taken its place

    # ---- what they say

    def index(self, listing: Listing) -> list[IndexEntry]:
        """Every model of the listing, and every other that was loaded, with the states of its versions."""
        records = {record.key: record for record in self.all()}
        entries = [untried(key, self._is_asleep(key.name)) for key in listing.models.keys() - records.keys()]
        entries += [
            IndexEntry(key.name, "", ModelState.UNAVAILABLE.value, str(error))
            for key, error in listing.clashes.items()
            if key not in records
        ]
        for key, record in records.items():
            entries += record.entries(self._is_asleep(key.name))
        return sorted(entries, key=lambda entry: entry.place)

    def states(self) -> list[IndexEntry]:
        """Every version that anybody tried to load, and every model that failed before it had any: no repository is
        asked.
        """
        entries = [entry for record in self.all() for entry in record.entries(self._is_asleep(record.key.name))]
        return sorted([entry for entry in entries if entry.state], key=lambda entry: entry.place)

    def events(self) -> list[ModelEvents]:
        """Of every model that anybody tried to load, by name."""
        of_name: dict[str, list[ModelEvents]] = {}
        for record in self.all():
            of_name.setdefault(record.key.name, []).append(record.events())
        return [added_up(name, events) for name, events in sorted(of_name.items())]

    def is_leaving(self, name: str) -> bool:
        """Whether versions of it that are not served any more still have requests to answer."""
        return any(
            entry.state == ModelState.UNLOADING.value
            for record in self.of_name(name)
            for entry in record.entries(asleep=False)
        )

    def failures(self) -> dict[str, AtollError]:
        """The models whose last load failed, and why."""
        return {str(r.key): r.error for r in sorted(self.all(), key=lambda r: r.key) if r.error is not None}

    def unready(self) -> list[str]:
        """The models that failed to load and of which nothing is served."""
        return [str(one.key) for one in self.all() if one.error is not None and one.served is None]


def stopping() -> UnavailableError:
    """To who comes too late."""
    return UnavailableError("Server is stopping: models are neither loaded nor unloaded any more")
