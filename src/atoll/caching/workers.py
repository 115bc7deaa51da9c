"""The threads on which a cache is asked that may block, and on which large inputs are looked through."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic_ns

logger = logging.getLogger(__name__)

COUNT = 8
MOST_WAITING = 1024
MOST_WAITING_BYTES = 256 << 20


class Workers:
    """A few threads and a bounded queue; a thread starts when there is something to do and no other is free.

    Thread-safe. Owned by the fleet, which closes it.
    """

    def __init__(
        self, count: int = COUNT, most_waiting: int = MOST_WAITING, most_waiting_bytes: int = MOST_WAITING_BYTES
    ):
        self._count = count
        self._most_waiting = most_waiting
        self._most_waiting_bytes = most_waiting_bytes
        self._lock = threading.Lock()
        self._something = threading.Condition(self._lock)
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._waiting_bytes = 0
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def give(self, function: Callable[[], None], byte_size: int = 0) -> bool:
        """Call the function soon; it must not raise. `byte_size`: what it keeps in memory until then.

        False where too much waits already: it is then not called.
        """
        with self._lock:
            if self._closed or len(self._waiting) >= self._most_waiting:
                return False
            if byte_size and self._waiting and self._waiting_bytes + byte_size > self._most_waiting_bytes:
                return False
            self._waiting.append((function, byte_size))
            self._waiting_bytes += byte_size
            if self._idle >= len(self._waiting):
                self._something.notify()
            elif len(self._threads) < self._count:
                thread = threading.Thread(target=self._run, name=f"cache_{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if self._closed:
                        return
                    self._idle += 1
                    self._something.wait()
                    self._idle -= 1
                function, byte_size = self._waiting.popleft()
                self._waiting_bytes -= byte_size
            try:
                function()
            except Exception:
                logger.exception("what concerns the response cache failed")
            del function  # it holds a request's buffers

    def close(self, deadline_ns: int) -> bool:
        """Take nothing more, do what waits, and end the threads. False when some outlast the deadline."""
        with self._lock:
            self._closed = True
            self._something.notify_all()
        for thread in self._threads:
            thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9)
        return not any(thread.is_alive() for thread in self._threads)
