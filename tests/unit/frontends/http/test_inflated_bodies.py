"""What compressed bodies grow to counts as long as their requests are not answered: small ones fill no memory."""

import asyncio
import gzip
import os

import pytest
from tests.unit.frontends.http.wire import infer

KIB = 1024


def squeezed(model: str, data: bytes) -> bytes:
    head, body = infer(model, data).split(b"\r\n\r\n", 1)
    small = gzip.compress(body)
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    lines += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(small)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + small


@pytest.mark.parametrize("noise", [0, 8 * KIB], ids=["small", "large"])  # inflated on the loop, and elsewhere
async def test_many_of_them_are_not_taken(start, noise):
    running = await start(max_buffered_size=1400 * KIB)
    data = os.urandom(noise) + bytes(900 * KIB)
    first = await running.connect()
    first.send(squeezed("wait", data))
    await asyncio.to_thread(running.server.arrived.wait, 20)
    second = await running.connect()
    refused = await second.ask(squeezed("echo", data))
    assert (refused.status, refused.json["error"]) == (
        503,
        "the server holds as many requests' bodies as it can: try again later",
    )
    running.server.release(running.server.requests[0])
    assert (await first.reply()).body.endswith(data)
    assert (await second.ask(squeezed("echo", data))).body.endswith(data)
    (port,) = running.frontend.ports
    assert port.bodies.held == 0
