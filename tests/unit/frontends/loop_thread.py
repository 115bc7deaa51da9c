"""What serves on an event loop in a thread of its own, so that blocking clients can drive it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

WAIT_S = 20  # for things that happen at once unless something is broken


class LoopThread:
    """From the moment it is made until `close`. What fails at the start is raised by who makes it.

    `started` is called and awaited on the loop, and returns what is to be called and awaited there at the end.
    """

    def __init__(self, started: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._problem: BaseException | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert self._up.wait(WAIT_S)
        if self._problem is not None:
            self._thread.join(WAIT_S)
            raise self._problem

    def _run(self, started: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live(started))

    async def _live(self, started: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        try:
            stop = await started()
        except BaseException as problem:
            self._problem = problem
            return
        finally:
            self._up.set()
        await self._over.wait()
        await stop()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Runs something on the loop and waits for it."""

        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(WAIT_S)

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer of a plain function called on the loop."""

        async def answer() -> Any:
            return question()

        return self.run(answer())

    def eventually(self, condition: Callable[[], bool]) -> None:
        """Waits until something is true on the loop."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        self.run(wait())

    def close(self) -> None:
        """Stops what was started, and waits for the thread's end."""
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
