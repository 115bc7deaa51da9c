"""Calls a function at a moment to come: for a scheduler whose queue delay nobody else would notice."""

import logging
import threading
from collections.abc import Callable
from time import monotonic_ns

logger = logging.getLogger(__name__)


class Alarm:
    """One moment at a time; a new one takes the place of the one before. Its thread starts with the first."""

    def __init__(self, name: str, function: Callable[[], None]):
        self._name = name
        self._function = function
        self._changed = threading.Condition()
        self._due_ns = 0  # 0: nothing is due
        self._thread: threading.Thread | None = None
        self._closed = False

    def set(self, due_ns: int) -> None:
        """Call the function then, on the monotonic clock."""
        with self._changed:
            if self._closed or due_ns == self._due_ns:
                return
            self._due_ns = due_ns
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def close(self) -> None:
        """Nothing is called any more once this has returned."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                left_ns = self._due_ns - monotonic_ns()
                if not self._due_ns or left_ns > 0:
                    self._changed.wait(left_ns / 1e9 if self._due_ns else None)
                    continue
                self._due_ns = 0
            try:
                self._function()
            except Exception:  # the next moment comes all the same
                logger.exception("what was due failed")
