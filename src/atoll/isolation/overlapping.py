"""A child's main thread where the model's `execute` is a coroutine: an event loop on which executions overlap.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import asyncio
import threading
from time import monotonic_ns
from typing import TYPE_CHECKING

from atoll.isolation import wire

if TYPE_CHECKING:
    from atoll.isolation.service import Hosted, Request, Service


def serve_overlapping(hosted: Hosted, service: Service) -> None:
    """Until the server says that it is enough, or is gone."""
    asyncio.set_event_loop(service.loop)
    service.serves_on_loop = True
    try:
        service.loop.run_until_complete(_serve(hosted, service))
    finally:
        service.serves_on_loop = False


async def _serve(hosted: Hosted, service: Service) -> None:
    loop = asyncio.get_running_loop()
    here = threading.get_ident()
    channel = service.channel
    ended = loop.create_future()
    tasks: set[asyncio.Task[None]] = set()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def begin(number: int, requests: list[Request]) -> None:
        task = loop.create_task(execute(number, requests))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def execute(number: int, requests: list[Request]) -> None:
        begin_ns = monotonic_ns()
        place = channel.mark()
        try:
            await hosted.execute_async(requests)
        finally:  # also where the model awaited what was cancelled
            del requests  # what the model has not kept is free again
            channel.queue_at(place, wire.pack_released(number, monotonic_ns() - begin_ns))
            channel.flush()

    async def probe(question: int) -> None:
        service.probed(question, await hosted.is_ready_async())

    def begin_probe(question: int) -> None:
        task = loop.create_task(probe(question))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def handle(kind: int, key: int, payload: memoryview) -> None:
        if kind == wire.EXECUTE:
            requests = service.parse_batch(payload)
            if threading.get_ident() == here:
                begin(key, requests)
            else:  # a thread of the model was reading
                loop.call_soon_threadsafe(begin, key, requests)
        elif kind == wire.CANCEL:
            hosted.cancel(key)
        elif kind == wire.PROBE:
            loop.call_soon_threadsafe(begin_probe, key)
        elif kind == wire.STOP:
            loop.call_soon_threadsafe(end)

    def readable() -> None:
        channel.look(at_once=True)
        if channel.closed:
            loop.remove_reader(channel.fileno())
            end()

    service.handle_more = handle
    loop.add_reader(channel.fileno(), readable)
    await ended
    loop.remove_reader(channel.fileno())
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1)
