"""The thread that makes of records what is kept of them: no request waits for a disk or a network."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from atoll.observability.tracing.record import Record

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000  # records that may wait; more are left out
MAX_WAITING_BYTES = 256 << 20  # and what they take
TOGETHER_BYTES = 1 << 18  # of records that are written at once, though they came one by one

Write = Callable[[Sequence[Record], bool, int], None]


class RecordThread:
    """Calls `write(records, indexed, lost)` for what is put in, in that order, on one thread: once for each put that is
    `indexed`, and for several together that are not. `lost`: how many records had to be left out since the last call.
    Thread-safe.

    The thread begins with the first record and ends with `close`.
    """

    def __init__(self, name: str, write: Write):
        self._name = name
        self._write = write
        self._waiting: deque[tuple[Sequence[Record], bool, int]] = deque()
        self._count = self._weight = 0
        self._lost = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, records: Sequence[Record], indexed: bool) -> None:
        """Have them written. Returns at once."""
        weight = sum(record.weight for record in records)
        with self._changed:
            full = self._count + len(records) > MAX_WAITING or self._weight + weight > MAX_WAITING_BYTES
            if self._closed or full or not self._begun():
                self._lost += len(records)
                return
            self._count += len(records)
            self._weight += weight
            self._waiting.append((records, indexed, weight))
            self._changed.notify()

    def _begun(self) -> bool:
        """Whether the thread is there: who has put something in has an answer to give, and no time for its troubles."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads
                return False
            self._thread = thread
        return True

    def close(self, timeout_s: float) -> bool:
        """Write what is left and end; False where that takes longer."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread, lost = self._thread, self._lost
        if thread is None:
            if lost:
                self._write((), False, lost)
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting and not self._lost:
                    return
                records, indexed = self._next()
                lost, self._lost = self._lost, 0
            try:
                self._write(records, indexed, lost)
            except Exception:
                logger.exception("%d traces could not be written", len(records))
            del records  # nothing is held while it waits

    def _next(self) -> tuple[Sequence[Record], bool]:
        """What was put in first, with what came next, where that is not much and no file of its own."""
        if not self._waiting:
            return (), False
        taken: list[Record] = []
        heavy = 0
        while self._waiting:
            records, indexed, weight = self._waiting[0]
            if taken and (indexed or heavy + weight > TOGETHER_BYTES):
                break
            self._waiting.popleft()
            self._count -= len(records)
            self._weight -= weight
            taken += records
            heavy += weight
            if indexed:
                return taken, True
        return taken, False
