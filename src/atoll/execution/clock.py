"""The clock of a server: one thread that calls functions when their moment has come."""

import logging
import threading
from collections.abc import Callable
from time import monotonic_ns

from atoll.timers import Timer, Timers

logger = logging.getLogger(__name__)


class Clock:
    """Thread-safe. Its thread starts with the first function. What it calls must be short, and must not wait."""

    def __init__(self, name: str = "clock") -> None:
        self._name = name
        self._timers = Timers()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def at(self, due_ns: int, function: Callable[[], object]) -> Timer:
        """Call the function at that moment of the monotonic clock; never, if the clock is closed before."""
        timer, is_next = self._timers.add(due_ns, function)
        if is_next or self._thread is None:
            with self._changed:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
                self._changed.notify()
        return timer

    def _run(self) -> None:
        while not self._closed:
            timer = self._timers.due(monotonic_ns())
            if timer is not None:
                try:
                    timer.fire()
                except Exception:  # what is due next comes all the same
                    logger.exception("what was due failed")
                continue
            with self._changed:
                due_ns = self._timers.next_at()
                if self._closed:
                    return
                left_ns = None if due_ns is None else due_ns - monotonic_ns()
                if left_ns is None or left_ns > 0:
                    self._changed.wait(None if left_ns is None else min(left_ns / 1e9, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Nothing is called any more once this has returned."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


class Alarm:
    """One moment at a time for one function; a new one takes the place of the one before. Thread-safe."""

    def __init__(self, clock: Clock, function: Callable[[], object]):
        self._clock = clock
        self._function = function
        self._lock = threading.Lock()
        self._calling = threading.RLock()
        self._due_ns = 0  # 0: nothing is due
        self._timer: Timer | None = None
        self._closed = False

    def set(self, due_ns: int) -> None:
        """Call the function then, on the monotonic clock."""
        if due_ns == self._due_ns:  # looked at without the lock: if it rings now, the function is about to be called
            return
        with self._lock:
            if self._closed or due_ns == self._due_ns:
                return
            self._due_ns = due_ns
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.at(due_ns, self._ring)

    def _ring(self) -> None:
        with self._calling:
            with self._lock:
                if self._closed:
                    return
                self._due_ns = 0
                self._timer = None
            self._function()

    def close(self) -> None:
        """The function is not called any more once this has returned."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        with self._calling:  # unless it is the function that closes
            pass
