"""Who looks after child processes: one thread for all of a server's, which hears their output, answers and ends."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from atoll.isolation.process import Child
from atoll.isolation.watch import Watch
from atoll.timers import Timer, Timers

__all__ = ["Supervisor", "Timer"]

logger = logging.getLogger(__name__)

_STACK_ANSWER_S = 2.0
_LAST_WORDS_S = 0.2  # for the stack of a child that hangs, before it is killed
_LOOK_AGAIN_S = 0.02  # for an end that is certain, but has not been reported
_LOOKS = 100  # and then it was not certain
_END_AFTER_KILL_S = 10.0
_TICK_WITHOUT_SILENCE_S = 1.0
_CLOSING = "was killed because the server is closing"


class Supervisor:
    """Watches children from its own thread, which starts with the first of them. Usable from any thread.

    Functions given to it run on that thread: they must not block, nor call `stop`, `stack_of`, `close` or
    `launch` with a zygote.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False  # no child is left alone any more
        self._stopped = False  # the thread ends
        self._orders: deque[Callable[[], None]] = deque()
        self._watches: dict[Child, Watch] = {}
        self._timers = Timers()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_orders)

    # ---- from any thread

    def watch(self, child: Child, *, on_end: Callable[[str], None], stub_timeout_s: float) -> None:
        """Look after a child from now on. `on_end(reason)` is called once, when the process and what it had started are
        gone. A child that does nothing and does not answer for `stub_timeout_s` seconds is killed; 0: never.
        """
        watch = Watch(child, on_end, stub_timeout_s, self._clock())
        self._watches[child] = watch
        if self._closing:
            child.kill(_CLOSING)
        self._order(lambda: self._begin(watch))

    def later(self, delay_s: float, function: Callable[[], object]) -> Timer:
        """Call a function on the supervisor's thread, in so many seconds; never, if it is closed before."""
        timer, is_next = self._timers.add(self._clock() + delay_s, function)
        if is_next or self._thread is None:
            self._order(_nothing)  # wakes the thread, which waits for a later one
        return timer

    def read(self, descriptor: int, function: Callable[[], bool]) -> None:
        """Call a function on the supervisor's thread whenever a descriptor can be read, until it returns False."""
        self._order(lambda: self._register(descriptor, function))

    def stack_of(self, child: Child) -> str | None:
        """What all Python threads of a child are doing, with files and lines; None where it does not say so within 2 s:
        then its interpreter does not run.
        """
        self._refuse_own_thread("stack_of")
        watch = self._watches.get(child)
        return watch.ask_for_stack(_STACK_ANSWER_S) if watch is not None else None

    def stop(self, child: Child, timeout_s: float) -> None:
        """Wait for a child that has been asked to end; after `timeout_s` seconds, kill it and all that it has started.
        Returns after its `on_end`, unless the kernel cannot end it (10 s more).

        There is no SIGTERM between: children leave that signal to the server, which has had its answer by then.
        """
        self._refuse_own_thread("stop")
        watch = self._watches.get(child)
        if watch is None or watch.ended.wait(timeout_s):
            return
        stack = self.stack_of(child)
        logger.warning(
            "instance '%s' of model '%s' has not ended within %g s and is killed%s",
            child.spec.name,
            child.spec.model,
            timeout_s,
            f"; it was doing:\n{stack}" if stack else "",
        )
        child.kill(f"did not end within {timeout_s:g} s after it was asked to, and was killed")
        if not watch.ended.wait(_END_AFTER_KILL_S):
            logger.error("process %d does not end, though it was killed: it waits in the kernel", child.pid)

    def close(self) -> None:
        """Kill the children that are left, wait for them, and end the thread. Timers are not called any more."""
        self._refuse_own_thread("close")
        with self._lock:
            if self._closing:
                return
            self._closing = True
        deadline = self._clock() + _END_AFTER_KILL_S
        while (watch := next(iter(self._watches.values()), None)) is not None and self._clock() < deadline:
            watch.child.kill(_CLOSING)
            watch.ended.wait(max(0.0, deadline - self._clock()))
        with self._lock:
            self._stopped = True
            self._wake_up()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def _refuse_own_thread(self, what: str) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                f"Supervisor.{what} waits for the supervisor's thread and was called on it. This is a bug"
            )

    def _order(self, order: Callable[[], None]) -> None:
        with self._lock:
            if self._stopped:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="atoll-supervisor", daemon=True)
                self._thread.start()
            self._orders.append(order)
            self._wake_up()

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    # ---- on the supervisor's thread

    def _run(self) -> None:
        while not self._stopped:
            next_at = self._timers.next_at()
            wait = None if next_at is None else max(0.0, next_at - self._clock())
            for key, _ in self._selector.select(wait):
                # One that the function before it has unregistered is not to be called.
                if self._selector.get_map().get(key.fd) is key and not self._guarded(key.data):
                    self._unregister(key.fd)
            now = self._clock()
            while not self._stopped and (timer := self._timers.due(now)) is not None:
                self._guarded(timer.fire)

    @staticmethod
    def _guarded(function: Callable[[], object]) -> object:
        try:
            return function()
        except Exception:
            logger.exception("a function failed on the supervisor's thread")
            return False

    def _take_orders(self) -> bool:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._orders:
            self._guarded(self._orders.popleft())
        return True

    def _register(self, descriptor: int, function: Callable[[], bool]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, function)

    def _unregister(self, descriptor: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(descriptor)

    def _begin(self, watch: Watch) -> None:
        watched, process = watch.child.watched, watch.child.process
        self._register(watched.output, lambda: watch.read_output(self._clock()))
        self._register(watched.control.fileno(), lambda: watch.read_control() or self._await_end(watch))
        if process.descriptor is not None:
            self._register(process.descriptor, lambda: not self._has_ended(watch))
        self._tick(watch)

    def _tick(self, watch: Watch) -> None:
        if self._has_ended(watch):
            return
        if watch.tick(self._clock()):
            watch.print_stack()
            self.later(_LAST_WORDS_S, watch.kill_hung)
        interval = watch.silence.interval_s if watch.silence else _TICK_WITHOUT_SILENCE_S
        self.later(interval, partial(self._tick, watch))

    def _await_end(self, watch: Watch, looks: int = 0) -> bool:
        """The child's end of a socket is closed: its process has ended, and its parent will know in a moment."""
        if self._has_ended(watch):
            return False
        if looks == _LOOKS:
            watch.child.kill("closed its connection to the server and was killed")
        self.later(_LOOK_AGAIN_S, partial(self._await_end, watch, looks + 1))
        return False

    def _has_ended(self, watch: Watch) -> bool:
        """End the watch of a process that has ended."""
        if watch.ended.is_set():
            return True
        code = watch.child.process.reap()
        if code is None:
            return False
        watched, process = watch.child.watched, watch.child.process
        for descriptor in (watched.output, watched.control.fileno(), process.descriptor):
            if descriptor is not None:
                self._unregister(descriptor)
        watch.end(code, self._clock())
        self._watches.pop(watch.child, None)
        return True


def _nothing() -> None:
    """An order to look again at what is to be waited for."""
