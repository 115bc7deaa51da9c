"""Who reads what child processes answer: a thread of ours, or an event loop that a frontend lends.

A child's answer goes to a client's socket, and an event loop writes that. Where the loop itself reads the answer, no
thread has to be woken in between.
"""

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from atoll.request import Defer, run_at_once

logger = logging.getLogger(__name__)

Callback = Callable[[], None]


class EventLoop(Protocol):
    """What we use of an asyncio event loop."""

    def add_reader(self, fd: int, callback: Callback) -> object: ...
    def remove_reader(self, fd: int) -> object: ...
    def add_writer(self, fd: int, callback: Callback) -> object: ...
    def remove_writer(self, fd: int) -> object: ...
    def call_soon(self, callback: Callback) -> object: ...
    def call_soon_threadsafe(self, callback: Callback) -> object: ...


class _Watched:
    __slots__ = ("on_readable", "on_writable")

    def __init__(self, on_readable: Callback):
        self.on_readable = on_readable
        self.on_writable: Callback | None = None


class Readers:
    """Thread-safe. Callbacks may be called once more after `unwatch`, and from two threads in a row: what they read
    does not block, and they look after their own order.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._watched: dict[int, _Watched] = {}
        self._going: dict[int, list[Callback]] = {}  # not watched any more, but the loop does not know it yet
        self._loop: EventLoop | None = None
        self._loop_thread = 0
        self._epoll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._stop = -1  # the writing end of a pipe
        self._closed = False

    # ---- who is read

    def watch(self, fd: int, on_readable: Callback) -> None:
        """Call `on_readable` whenever there is something to read."""
        with self._lock:
            if self._closed:
                return  # the process is killed, and its end says the rest
            self._watched[fd] = _Watched(on_readable)
            if self._loop is not None:
                self._on_loop(lambda: self._add_to_loop(fd))
            else:
                self._ensure_thread().register(fd, select.EPOLLIN)

    def unwatch(self, fd: int, then: Callback = lambda: None) -> None:
        """Stop watching; `then` is called when it is over, and may close the descriptor."""
        with self._lock:
            watched = self._watched.pop(fd, None)
            loop = self._loop
            if watched is not None and loop is None and self._epoll is not None:
                self._epoll.unregister(fd)
            if loop is not None:
                self._going.setdefault(fd, []).append(then)
        if loop is None:
            then()
        else:  # where it was unwatched before, behind that
            self._on_loop(lambda: self._remove_from_loop(loop, fd))

    def when_writable(self, fd: int, callback: Callback | None) -> None:
        """Call it whenever something can be written; None: no more."""
        with self._lock:
            watched = self._watched.get(fd)
            if watched is None or (watched.on_writable is None) == (callback is None):
                return
            watched.on_writable = callback
            if self._loop is not None:
                self._on_loop(lambda: self._renew_writer(fd))
            elif self._epoll is not None:
                self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if callback is not None else 0))

    def defer(self) -> Defer:
        """For requests that are made by who is being called back now: a function that runs another one soon."""
        loop = self._loop
        if loop is not None and threading.get_ident() == self._loop_thread:
            return loop.call_soon
        return run_at_once

    # ---- an event loop that reads

    def lend(self, loop: EventLoop) -> bool:
        """Let this loop, whose thread calls, read from now on, until it is taken back; False if another one does."""
        with self._lock:
            if self._loop is not None or self._closed:
                return False
            self._loop = loop
            self._loop_thread = threading.get_ident()
            for fd in self._watched:
                if self._epoll is not None:
                    self._epoll.unregister(fd)
                self._add_to_loop(fd)
        return True

    def take_back(self, loop: EventLoop) -> None:
        """The loop, whose thread calls, is about to end."""
        with self._lock:
            if self._loop is not loop:
                return
            self._loop = None
            for fd, watched in self._watched.items():
                loop.remove_reader(fd)
                if watched.on_writable is not None:
                    loop.remove_writer(fd)
                events = select.EPOLLIN | (select.EPOLLOUT if watched.on_writable is not None else 0)
                self._ensure_thread().register(fd, events)
            going, self._going = self._going, {}
            for fd in going:
                loop.remove_reader(fd)
                loop.remove_writer(fd)
        for waiting in going.values():
            for then in waiting:
                then()

    def _on_loop(self, function: Callback) -> None:
        loop = self._loop
        if loop is None or threading.get_ident() == self._loop_thread:
            function()
            return
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:  # it was closed without having been taken back
            function()

    def _add_to_loop(self, fd: int) -> None:
        with self._lock:
            watched = self._watched.get(fd)
            if watched is not None and self._loop is not None:
                self._loop.add_reader(fd, watched.on_readable)
                if watched.on_writable is not None:
                    self._loop.add_writer(fd, watched.on_writable)

    def _remove_from_loop(self, loop: EventLoop, fd: int) -> None:
        with self._lock:
            waiting = self._going.pop(fd, [])  # empty: the loop was taken back, and that has seen to it
            if waiting and fd not in self._watched:
                with suppress(RuntimeError):  # the loop was closed without having been taken back
                    loop.remove_reader(fd)
                    loop.remove_writer(fd)
        for then in waiting:
            then()

    def _renew_writer(self, fd: int) -> None:
        with self._lock:
            watched = self._watched.get(fd)
            if watched is None or self._loop is None:
                return
            if watched.on_writable is not None:
                self._loop.add_writer(fd, watched.on_writable)
            else:
                self._loop.remove_writer(fd)

    # ---- our own thread

    def _ensure_thread(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            stop, self._stop = os.pipe()
            self._epoll.register(stop, select.EPOLLIN)
            self._thread = threading.Thread(
                target=self._read, args=(self._epoll, stop), name="answers of processes", daemon=True
            )
            self._thread.start()
        return self._epoll

    def _read(self, epoll: select.epoll, stop: int) -> None:
        while True:
            for fd, events in epoll.poll():
                if fd == stop:
                    os.close(stop)
                    epoll.close()
                    return
                watched = self._watched.get(fd)
                if watched is None:
                    continue
                try:
                    if events & ~select.EPOLLOUT:
                        watched.on_readable()
                    if events & select.EPOLLOUT and watched.on_writable is not None:
                        watched.on_writable()
                except Exception:
                    logger.exception("reading the answers of a process failed")

    def close(self) -> None:
        """Nothing is read any more. Calling it again does nothing."""
        with self._lock:
            self._closed = True
            self._watched.clear()
            thread, self._thread = self._thread, None
            if thread is None:
                return
            os.close(self._stop)
        if thread is not threading.current_thread():
            thread.join()
