"""The records of all models, and the turns that are taken at each."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from atoll.errors import UnavailableError
from atoll.models.catalog import ModelKey
from atoll.models.record import Record


class Records:
    """`refusing`: no more turns are given; `stopped`: nor do those that wait for theirs get it. Thread-safe."""

    def __init__(self) -> None:
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


def stopping() -> UnavailableError:
    """To who comes too late."""
    return UnavailableError("Server is stopping: models are neither loaded nor unloaded any more")
