"""The files into which traces are written: by a thread of their own, so that no request waits for a disk."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from atoll.observability.tracing.entries import entries
from atoll.observability.tracing.record import Record

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000  # records that may wait for the disk; more are left out
MAX_WAITING_BYTES = 256 << 20  # and what they take


class TraceFiles:
    """FILE, FILE.0, FILE.1, ...: each holds a JSON array, and is whole after each write. Thread-safe.

    The thread begins with the first record and ends with `close`, which waits for what is still to be written.
    """

    def __init__(self, path: str):
        self._path = path
        self._next = 0
        self._begun = False
        self._waiting: deque[tuple[Sequence[Record], bool, int]] = deque()
        self._count = self._weight = 0
        self._lost = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def write(self, records: Sequence[Record], indexed: bool) -> None:
        """Append to the file, or make the next indexed one of them. Returns at once."""
        weight = sum(record.weight for record in records)
        with self._changed:
            full = self._count + len(records) > MAX_WAITING or self._weight + weight > MAX_WAITING_BYTES
            if self._closed or full:
                self._lost += len(records)
                return
            self._count += len(records)
            self._weight += weight
            self._waiting.append((records, indexed, weight))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                logger.error("traces could not be written to '%s' in time", self._path)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                records, indexed, weight = self._waiting.popleft()
                self._count -= len(records)
                self._weight -= weight
                lost, self._lost = self._lost, 0
            if lost:
                logger.warning("%d traces were left out: '%s' is written more slowly than they come", lost, self._path)
            text = _text(records)
            if text:
                self._guarded(self._write_next if indexed else self._append, text)

    def _guarded(self, write: Callable[[bytes], None], text: bytes) -> None:
        try:
            write(text)
        except OSError as error:
            logger.error("traces cannot be written to '%s': %s", self._path, error.strerror or error)

    def _write_next(self, text: bytes) -> None:
        number, self._next = self._next, self._next + 1
        Path(f"{self._path}.{number}").write_bytes(b"[" + text + b"]")

    def _append(self, text: bytes) -> None:
        if not self._begun:
            Path(self._path).write_bytes(b"[" + text + b"]")
            self._begun = True
            return
        with Path(self._path).open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"," + text + b"]")


def _text(records: Sequence[Record]) -> bytes:
    return b",".join(
        json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        for record in records
        for entry in entries(record)
    )
