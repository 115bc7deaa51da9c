"""How much memory the loaded models take, for those who must not wait: to measure a process takes milliseconds, and
longer the more it has.
"""

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Protocol

FRESH_S: Final = 2.0
"""A reading that is older is measured anew for whoever asks next."""

Sizes = dict[tuple[str, str], int]


class Measured(Protocol):
    """A loaded model version."""

    name: str
    version: str
    memory_bytes: int

    def process_bytes(self) -> int: ...


class MemoryReadings:
    """`models`: those that are loaded now. Thread-safe; its thread is there while it measures."""

    def __init__(self, models: Callable[[], Sequence[Measured]], clock: Callable[[], float] = monotonic):
        self._models = models
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Sizes = {}
        self._due = 0.0
        self._measuring = False

    def measure(self, name: str = "") -> Sizes:
        """Bytes by name and version, of one name's versions or of all, as they are now; 0 where it is not known."""
        sizes = {(one.name, one.version): one.memory_bytes or one.process_bytes() for one in self._of(name)}
        if not name:
            with self._lock:
                self._known = dict(sizes)
                self._due = self._clock() + FRESH_S
        return sizes

    def latest(self, name: str = "") -> Sizes:
        """As they were lately, so nobody waits; but for versions that were never measured, which are at once."""
        models = self._of(name)
        with self._lock:
            known = self._known
            stale = not self._measuring and self._clock() >= self._due
            self._measuring = self._measuring or stale
        new = {
            (one.name, one.version): one.memory_bytes or one.process_bytes()
            for one in models
            if (one.name, one.version) not in known
        }
        if new:
            with self._lock:
                self._known = known = {**self._known, **new}
        if stale:
            self._measure_apart()
        return {(one.name, one.version): known.get((one.name, one.version), 0) for one in models}

    def _of(self, name: str) -> list[Measured]:
        return [one for one in self._models() if not name or one.name == name]

    def _measure_apart(self) -> None:
        try:
            threading.Thread(target=self._measure_all, name="memory of models", daemon=True).start()
        except RuntimeError:  # the system has no more threads: who asks next tries again
            self._measuring = False

    def _measure_all(self) -> None:
        try:
            self.measure()
        finally:
            self._measuring = False
