"""The keys in force: read at start, and again whenever their file has changed. Requests never wait for that."""

import logging
import os
import stat
import threading
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from atoll.errors import AtollError, InvalidArgumentError, UnauthenticatedError
from atoll.frontends.access.key_file import read_key_file
from atoll.frontends.access.key_form import digest_of
from atoll.frontends.access.keys import ApiKey, KeyTable

logger = logging.getLogger(__name__)

MAX_FILE = 1 << 24  # bytes
POLL_S = 0.5
Signature = tuple[int, ...]


class Remembering(Protocol):
    """Somebody who keeps what he has learnt from keys."""

    def forget(self) -> None:
        """Other keys are in force now. Called on the ring's thread."""


class KeyRing:
    """Thread-safe. `watch` starts its thread, `close` ends it.

    Raises InvalidArgumentError where the file cannot be read or is wrong; later a file that is leaves the keys as they
    were.
    """

    def __init__(self, path: str, poll_s: float = POLL_S):
        self._path = Path(path)
        self._poll_s = poll_s
        self._rememberers: WeakSet[Remembering] = WeakSet()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: Signature | None = None
        self._complaint = ""
        try:
            self._used: Signature | None = self._signature()
            self._table = self._read(None)
        except OSError as error:
            raise InvalidArgumentError(
                f"--api-key-file: {path} cannot be read: {error.strerror or error}. Make one with "
                "`atoll key NAME --file FILE`"
            ) from None
        if self._path.stat().st_mode & stat.S_IWOTH:
            logger.warning("%s may be written by everybody on this machine, and so may its API keys: chmod o-w", path)

    def watch(self) -> None:
        """Look after the file from now on. Again in a process that was forked since: its threads stayed behind."""
        if (self._thread is None or not self._thread.is_alive()) and not self._closed.is_set():
            self._thread = threading.Thread(target=self._watch, name="api keys", daemon=True)
            self._thread.start()

    def find(self, token: str) -> ApiKey:
        """The key that this is. Raises UnauthenticatedError."""
        return self.by_digest(digest_of(token))

    def by_digest(self, digest: bytes) -> ApiKey:
        """The same of a key whose digest is known."""
        key = self._table.find(digest)
        if key is None:
            raise UnauthenticatedError("the API key is not known here, or not any more")
        return key

    def tell(self, rememberer: Remembering) -> None:
        """Tell it to forget when the keys have changed, as long as it lives."""
        with self._lock:
            self._rememberers.add(rememberer)

    def check(self) -> None:
        """Read the file again if it has changed, and has stayed as it is since the last look: half of it might be
        written."""
        try:
            signature = self._signature()
        except OSError as error:
            self._complain(f"{error.strerror or error}")
            return
        seen, self._seen = self._seen, signature
        if signature == self._used or signature != seen:
            return
        self._used = signature
        try:
            table = self._read(self._table)
        except (AtollError, OSError) as error:
            self._complain(str(error))
            return
        self._complaint = ""
        self._table = table  # before anybody forgets: what is learnt after that is learnt of these
        with self._lock:
            rememberers = list(self._rememberers)
        for one in rememberers:
            one.forget()
        logger.info("%s has changed: %d API keys are in force", self._path, len(table))

    def close(self) -> None:
        """The server has ended."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._poll_s):
            try:
                self.check()
            except Exception:
                logger.exception("looking for changes of %s failed", self._path)

    def _signature(self) -> Signature:
        found = os.stat(self._path)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self, before: KeyTable | None) -> KeyTable:
        with self._path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        try:
            if len(data) > MAX_FILE:
                raise InvalidArgumentError(f"{self._path}: more than {MAX_FILE} bytes cannot be a file of keys")
            return KeyTable(read_key_file(data.decode(), str(self._path)), before)
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(f"{self._path} is no text in UTF-8: {error}") from None

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            logger.error("the API keys stay as they were, because the changed file cannot be used: %s", text)
