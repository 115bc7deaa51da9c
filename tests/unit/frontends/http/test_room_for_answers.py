"""Answers that their clients do not take fill the same room as bodies that come in."""

import asyncio

from tests.unit.frontends.http.wire import infer

MIB = 1024 * 1024


async def until(reached):
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.005)


async def test_who_takes_no_answers_leaves_less_room_for_bodies(start):
    running = await start(max_buffered_size=40 * MIB)
    (port,) = running.frontend.ports
    idle = await running.connect()
    data = bytes(30 * MIB)
    idle.send(infer("echo", data))
    await until(lambda: running.server.requests)  # the client takes a part of it, and the system keeps some
    await until(lambda: 5 * MIB < port.bodies.held < 30 * MIB)
    other = await running.connect()
    other.send(infer("echo", bytes(39 * MIB))[: 38 * MIB])
    assert (await other.reply()).status == 503
    assert (await idle.reply()).body.endswith(data)
    await until(lambda: port.bodies.held == 0)
    again = await running.connect()
    assert (await again.ask(infer("echo", bytes(2 * MIB)))).status == 200
    leaving = await running.connect()
    leaving.send(infer("echo", data))
    await until(lambda: len(running.server.requests) == 3 and 5 * MIB < port.bodies.held < 30 * MIB)
    leaving.close()
    leaving.writer.transport.abort()
    await until(lambda: port.bodies.held == 0)
