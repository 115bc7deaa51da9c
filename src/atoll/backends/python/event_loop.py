"""An event loop in a thread of its own, where a model's coroutines run when nobody brings a loop for them.

Imported by child processes: the standard library only, on Python 3.10 and later. asyncio is imported when it is needed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine


class EventLoopThread:
    """Runs coroutines, many at once; `close` ends it. Its thread starts with the first of them. Thread-safe."""

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result, or what it raises; the caller waits. Not to be called in a coroutine that runs here."""
        import asyncio

        error, result = asyncio.run_coroutine_threadsafe(_outcome(coroutine), self._running()).result()
        if error is not None:
            raise error
        return result

    def _running(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, and end the thread. A later `run` starts another one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        import asyncio

        asyncio.run_coroutine_threadsafe(_cancel_rest(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[BaseException | None, Any]:
    """What it raises as a value: SystemExit and KeyboardInterrupt would end the loop, and not reach who waits."""
    try:
        return None, await coroutine
    except BaseException as error:
        return error, None


async def _cancel_rest() -> None:
    import asyncio

    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=5)
