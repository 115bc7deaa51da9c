"""Downloads objects in parallel: large ones in parts, each part tried again where its connection broke off."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from atoll.errors import CancelledError
from atoll.repositories.object_cache import PartFile
from atoll.repositories.object_client import ObjectClient
from atoll.repositories.object_errors import TransientStoreError
from atoll.repositories.object_names import StoredObject

PARALLEL = 8  # requests of one download at a time
PART_BYTES = 32 << 20
ATTEMPTS = 4  # of a part whose connection breaks off; the client's own are before a byte has come
PAUSE_S = 0.2  # after the first attempt, and longer after the next


@dataclass(slots=True)
class _Target:
    """One object's file. The first part opens it, the last one finishes it."""

    stored: StoredObject
    path: Path
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    file: PartFile | None = None

    def opened(self) -> PartFile:
        with self.lock:
            if self.file is None:
                self.file = PartFile(self.path)
            return self.file

    def part_is_done(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0 and self.file is not None:
                self.file.finish()


class Download:
    """Objects on their way to the disk. `run` returns when all are there, or raises and leaves no half file."""

    def __init__(
        self,
        client: ObjectClient,
        objects: Sequence[tuple[StoredObject, Path]],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._client = client
        self._targets = [_Target(one, path, max(1, -(-one.size // PART_BYTES))) for one, path in objects]
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.total_bytes = sum(one.size for one, _ in objects)
        self._done = 0

    def run(self) -> None:
        """Raises UnavailableError, and ObjectChangedError where an object is no longer the one that was listed."""
        try:
            with ThreadPoolExecutor(PARALLEL, thread_name_prefix="atoll-download") as pool:
                try:
                    parts = [
                        pool.submit(self._fetch, target, start, end)
                        for target in self._targets
                        for start, end in _parts(target.stored)
                    ]
                    wait(parts, return_when=FIRST_EXCEPTION)
                finally:
                    self._stop.set()
                    pool.shutdown(wait=True, cancel_futures=True)
            failures = [error for part in parts if not part.cancelled() and (error := part.exception())]
            # A part that was told to stop is no cause.
            for failure in sorted(failures, key=lambda error: isinstance(error, CancelledError)):
                raise failure
        finally:
            for target in self._targets:
                if target.file is not None:
                    target.file.discard()

    def _fetch(self, target: _Target, start: int, end: int) -> None:
        file = target.opened()
        offset = start
        for attempt in range(1, ATTEMPTS + 1):
            if offset == end:
                break
            begun = offset
            try:
                for piece in self._client.read(target.stored, offset, end):
                    if self._stop.is_set():
                        raise CancelledError("another part of the download failed")
                    file.write(piece, offset)
                    offset += len(piece)
                    self._count(len(piece))
            except TransientStoreError:
                # Where no byte came the client has made the request again, as often as it should be.
                if attempt == ATTEMPTS or offset == begun or self._stop.wait(PAUSE_S * attempt):
                    raise
        target.part_is_done()

    def _count(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._on_progress(self._done, self.total_bytes)


def _parts(one: StoredObject) -> Iterator[tuple[int, int]]:
    """The byte ranges in which an object comes: one at least."""
    if not one.size:
        yield 0, 0
    for start in range(0, one.size, PART_BYTES):
        yield start, min(start + PART_BYTES, one.size)
