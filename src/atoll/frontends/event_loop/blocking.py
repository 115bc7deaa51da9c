"""Calls that block, for an event loop that must not: loading and unloading models, looking into repositories.

Every call gets a thread of its own, up to a limit; the others wait in a queue that is limited as well. The threads are
daemons: a load that never ends does not keep a process from ending.
"""

import logging
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError, InternalError, UnavailableError

logger = logging.getLogger(__name__)

Then = Callable[[Any, AtollError | None], None]


class BlockingCall:
    """One call: `cancel` drops it if it has not begun, and its outcome if it has."""

    __slots__ = ("cancelled", "then", "work")

    def __init__(self, work: Callable[[], Any], then: Then):
        self.work = work
        self.then = then
        self.cancelled = False

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.cancelled = True


class BlockingCalls:
    """Belongs to one event loop's thread, except for the work itself."""

    def __init__(self, loop: AbstractEventLoop, name: str, threads: int = 8, waiting: int = 256):
        self._loop = loop
        self._name = name
        self._threads = threads
        self._limit = waiting
        self._waiting: deque[BlockingCall] = deque()
        self._running = 0
        self._closed = False

    def submit(self, work: Callable[[], Any], then: Then) -> BlockingCall:
        """Run `work` on another thread; `then` gets its result or its error on the loop's thread, later.

        Raises UnavailableError when too many calls wait already, and after `close`.
        """
        if self._closed:
            raise UnavailableError(f"the server is stopping: {self._name} calls are not taken any more")
        call = BlockingCall(work, then)
        if self._running < self._threads:
            self._start(call)
        else:
            if len(self._waiting) >= self._limit:
                self._waiting = deque(one for one in self._waiting if not one.cancelled)
            if len(self._waiting) >= self._limit:
                raise UnavailableError(
                    f"{self._limit} {self._name} calls are waiting for others to end: try again later"
                )
            self._waiting.append(call)
        return call

    def close(self) -> None:
        """Take no more calls, and refuse those that have not begun; those that have go on."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._finish(call, None, UnavailableError(f"the server is stopping: this {self._name} call was not begun"))

    def _start(self, call: BlockingCall) -> None:
        try:
            threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            raise UnavailableError(f"no thread for a {self._name} call: {error}") from error
        self._running += 1

    def _work(self, call: BlockingCall) -> None:
        result, error = None, None
        try:
            result = call.work()
        except AtollError as known:
            error = known
        except Exception as unknown:
            logger.exception("a %s call failed", self._name)
            error = InternalError(f"{type(unknown).__name__}: {unknown}")
        try:
            self._loop.call_soon_threadsafe(self._ended, call, result, error)
        except RuntimeError:  # the loop is closed: nobody is left to answer to
            logger.debug("a %s call outlived its event loop", self._name)

    def _ended(self, call: BlockingCall, result: Any, error: AtollError | None) -> None:
        self._running -= 1
        while self._waiting and self._running < self._threads:
            following = self._waiting.popleft()
            if following.cancelled:
                continue
            try:
                self._start(following)
            except AtollError as refused:
                self._finish(following, None, refused)
        self._finish(call, result, error)

    def _finish(self, call: BlockingCall, result: Any, error: AtollError | None) -> None:
        if call.cancelled:
            return
        try:
            call.then(result, error)
        except Exception:  # one client's trouble; the others wait for their answers too
            logger.exception("the outcome of a %s call could not be answered", self._name)
