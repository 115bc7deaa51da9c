"""How other threads hand work to an event loop: many letters, one wake-up.

An instance that answers a batch from its own thread would otherwise wake the loop once per request; the system call
that does it costs more than encoding a small answer.
"""

import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable


class Mailbox:
    """Runs functions on its loop's thread: at once when called there, otherwise soon and in order."""

    def __init__(self, loop: AbstractEventLoop, thread_id: int | None = None):
        self._loop = loop
        self._thread_id = threading.get_ident() if thread_id is None else thread_id
        self._letters: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._awake = False

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Call `function(*arguments)` on the loop's thread. It must not raise. Callable from any thread.

        After the loop has been closed the call is dropped: nobody is left to answer to.
        """
        if threading.get_ident() == self._thread_id:
            if self._letters:  # what other threads sent earlier comes first
                self._drain()
            function(*arguments)
            return
        self._letters.append((function, arguments))
        if not self._awake:  # a race only costs one more wake-up: the letter is in the box before the flag is read
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                self._letters.clear()

    def _drain(self) -> None:
        self._awake = False  # before the first letter is taken: one that comes from now on wakes the loop again
        letters = self._letters
        left = len(letters)  # what comes meanwhile wakes the loop anew: a flood must not keep it from its sockets
        while left and letters:
            left -= 1
            function, arguments = letters.popleft()
            function(*arguments)
