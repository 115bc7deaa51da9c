"""The files into which traces are written."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from atoll.observability.tracing.entries import Entry, entries
from atoll.observability.tracing.record import Record
from atoll.observability.tracing.record_thread import RecordThread
from atoll.slices import Slices

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 10.0


class TraceFiles:
    """FILE, FILE.0, FILE.1, ...: each holds a JSON array, and is whole after each write. Thread-safe."""

    def __init__(self, path: str):
        self._path = path
        self._next = 0
        self._begun = False
        self._thread = RecordThread("traces", self._write)

    def write(self, records: Sequence[Record], indexed: bool) -> None:
        """Append to the file, or make the next indexed one of them. Returns at once."""
        self._thread.put(records, indexed)

    def close(self) -> None:
        """Write what is left and end."""
        if not self._thread.close(CLOSE_TIMEOUT_S):
            logger.error("traces could not be written to '%s' in time", self._path)

    def _write(self, records: Sequence[Record], indexed: bool, lost: int) -> None:
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
    parts: list[bytes] = []
    give_way = Slices()
    for record in records:
        for entry in entries(record):
            parts.append(_encoded(entry))
            give_way()
    return b",".join(parts)


def _encoded(entry: Entry) -> bytes:
    try:
        return orjson.dumps(entry)
    except (orjson.JSONEncodeError, TypeError):  # a text that has no UTF-8
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
