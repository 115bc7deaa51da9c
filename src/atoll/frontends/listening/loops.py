"""Event loops with a thread each, for frontends that are to have more than one."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import uvloop

logger = logging.getLogger(__name__)

T = TypeVar("T")
BLOCKED_S = 5.0
_JOIN_S = 5.0


class EventLoops:
    """`count` loops, or with 0 the one that runs where they are started. A day: made, `start`, `run`, `stop`."""

    def __init__(self, count: int, name: str):
        self._count = count
        self._name = name
        self._threads: list[_LoopThread] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    def start(self) -> None:
        """To be called on a running loop. Raises RuntimeError where the system has no more threads."""
        if not self._count:
            self.loops = [asyncio.get_running_loop()]
            return
        for number in range(self._count):
            thread = _LoopThread(f"{self._name}-{number}")
            self._threads.append(thread)
            self.loops.append(thread.start())

    async def run(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of something done on one of the loops."""
        if loop is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    async def run_each(
        self, works: Iterable[tuple[asyncio.AbstractEventLoop, Coroutine[Any, Any, None]]], timeout_s: float
    ) -> None:
        """All of it at the same time. A loop that something blocks is waited for a while longer, and then no more."""
        running = [asyncio.ensure_future(self.run(loop, work)) for loop, work in works]
        if not running:
            return
        done, late = await asyncio.wait(running, timeout=timeout_s + BLOCKED_S)
        for one in late:
            one.cancel()
        if late:
            logger.error(
                "%d event loops of %s are blocked: their connections end with the process", len(late), self._name
            )
        for one in done:
            one.result()

    async def stop(self) -> None:
        """End them. What still runs on them is cancelled."""
        threads, self._threads, self.loops = self._threads, [], []
        for thread in threads:
            thread.end()
        here = asyncio.get_running_loop()
        await asyncio.gather(*(here.run_in_executor(None, thread.join) for thread in threads))


class _LoopThread:
    """One loop and its thread."""

    def __init__(self, name: str):
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def start(self) -> asyncio.AbstractEventLoop:
        self._thread.start()
        self._up.wait()
        assert self._loop is not None, "a loop that could not be made. This is a bug"
        return self._loop

    def end(self) -> None:
        assert self._loop is not None, "a thread that was never started. This is a bug"
        assert self._over is not None, "a loop without its end. This is a bug"
        self._loop.call_soon_threadsafe(self._over.set)

    def join(self) -> None:
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            logger.warning("event loop %s is busy and is left to itself", self._thread.name)

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._wait())
        except Exception:
            logger.exception("event loop %s ended", self._thread.name)
        finally:
            self._up.set()

    async def _wait(self) -> None:
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._up.set()
        await self._over.wait()
