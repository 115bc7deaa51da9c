"""A thread that writes lines, so that who has something to say never waits for a disk or for whoever reads a pipe.

Lines wait in memory up to a bound. What comes beyond is dropped, counted, and the count is written as soon as there is
room: a log that lacks lines says so.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from atoll.observability.logging.files import Output

Line = TypeVar("Line")


class LineWriter(Generic[Line]):
    """`render` makes bytes of what has been put, and how many were lost before, on the writer's own thread.

    `capacity`: how much may wait, in the unit of `put`'s weights. `pause_s`: how long lines may be kept to be written
    together. Never raises for what the output does: what cannot be written is lost, and counted.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        render: Callable[[Sequence[Line], int], bytes],
        *,
        capacity: int,
        pause_s: float = 0.0,
        together: int = 4096,
    ):
        self._output = output
        self._render = render
        self._capacity = capacity
        self._pause_s = pause_s
        self._together = together
        self._lines: deque[tuple[Line, int]] = deque()
        self._weight = 0
        self._lost = 0
        self._put = self._written = 0  # how many, ever
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        self._idle = True
        self._hurry = threading.Event()
        self._closing = False
        self._here = True  # False in a process that was forked from this one: nobody would write
        _writers.add(self)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, line: Line, weight: int = 1) -> None:
        """Have it written soon. From any thread; never waits for the output."""
        if not self._here:
            self._write([line], 0)
            return
        with self._lock:
            if self._weight + weight > self._capacity or self._closing:
                self._lost += 1
                return
            self._lines.append((line, weight))
            self._weight += weight
            self._put += 1
            if self._idle:
                self._idle = False
                self._work.notify()

    def reopen(self) -> None:
        """The output is to look for its file anew. Also from a signal handler."""
        self._output.reopen()

    @property
    def lost(self) -> int:
        """How many lines were lost and are not told of yet."""
        return self._lost

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until what has been put is written, or dropped by the output; False where that takes longer."""
        if not self._here:
            return True
        self._hurry.set()
        with self._lock:
            goal = self._put
            return self._done.wait_for(lambda: self._written >= goal, timeout_s)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Write what there is and let go of the output; False where it is stuck: what waits for it is lost then."""
        flushed = self.flush(timeout_s)
        with self._lock:
            self._closing = True
            self._work.notify()
        _writers.discard(self)
        if self._here:
            self._thread.join(timeout_s if flushed else 0)
            if self._thread.is_alive():
                return False
        self._output.close()
        return flushed

    def forked(self) -> None:
        """This is the child of a process that had the thread: what it says is written at once."""
        self._here = False
        self._lock = threading.Lock()
        self._lines.clear()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._lines and not self._lost and not self._closing:
                    self._idle = True
                    self._done.notify_all()
                    self._work.wait()
                self._idle = False
                if not self._lines and self._closing:
                    self._done.notify_all()
                    return
            if self._pause_s and len(self._lines) < self._together and not self._closing:
                self._hurry.wait(self._pause_s)
                self._hurry.clear()
            with self._lock:
                count = min(len(self._lines), self._together)
                taken = [self._lines.popleft() for _ in range(count)]
                lost = self._lost
            written = self._write([line for line, _ in taken], lost)
            with self._lock:
                self._weight -= sum(weight for _, weight in taken)
                self._lost += -lost if written else count
                self._written += count
                self._done.notify_all()
                if not written and not self._lines:
                    if self._closing:
                        return
                    self._idle = True
                    self._work.wait()  # what was lost is told with the next line, not again and again to a full disk

    def _write(self, lines: Sequence[Line], lost: int) -> bool:
        try:
            self._output.write(self._render(lines, lost))
        except OSError:
            return False
        except Exception:
            if len(lines) > 1:  # one that cannot be rendered is no reason to lose its neighbours
                return all([self._write([line], 0) for line in lines])
            return False
        return True


_writers: "weakref.WeakSet[LineWriter[Any]]" = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer.forked()


os.register_at_fork(after_in_child=_after_fork)
