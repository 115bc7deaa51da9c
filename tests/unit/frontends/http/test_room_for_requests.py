"""What requests make the server hold fills one room: bodies that come in, what they become, answers nobody takes."""

import asyncio

from tests.unit.frontends.http.wire import infer, request

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


async def test_numbers_in_json_count_as_what_they_become(start):
    """Two characters a number, and eight bytes."""
    running = await start(max_buffered_size=6 * MIB)
    (port,) = running.frontend.ports
    numbers = b"0," * (500_000 - 1) + b"0"
    body = b'{"inputs":[{"name":"IN","datatype":"INT64","shape":[500000],"data":[%b]}]}' % numbers
    first = await running.connect()
    first.send(request("POST", "/v2/models/wait/infer", body))
    await asyncio.to_thread(running.server.arrived.wait, 20)
    assert port.bodies.held >= 4 * MIB - MIB // 4
    second = await running.connect()
    assert (await second.ask(request("POST", "/v2/models/echo/infer", body))).status == 503
    running.server.release(running.server.requests[0])
    assert (await first.reply()).status == 200
    assert (await second.ask(request("POST", "/v2/models/echo/infer", body))).status == 200
    await until(lambda: port.bodies.held == 0)
