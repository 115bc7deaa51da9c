"""Requests over HTTP for models that are not in memory."""

import asyncio
import gzip
import json

import pytest
from tests.unit.frontends.fake_repository import WAIT_S
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.test_asgi import ask as ask_asgi
from tests.unit.frontends.http.wire import infer, request

from atoll.errors import NotFoundError, UnavailableError
from atoll.frontends.event_loop.waking import ATTEMPTS
from atoll.frontends.http.asgi import asgi_app

JSON_INFER = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1,2],"data":[1,2.5]}]}'


@pytest.fixture
async def client(running):
    running.server.asleep.add("echo")
    return await running.connect()


async def asked(running):
    await asyncio.to_thread(running.server.wait_for_wake)


@pytest.mark.parametrize("path", ["", "/config", "/versions/1", "/versions/1/config"])
async def test_documents_wait_for_the_model(running, client, path):
    client.send(request("GET", f"/v2/models/echo{path}"))
    await asked(running)
    running.server.woken()
    reply = await client.reply()
    assert (reply.status, reply.json["name"]) == (200, "echo")
    assert (await client.ask(request("GET", f"/v2/models/echo{path}"))).json == reply.json


async def test_inference_waits_for_the_model(running, client):
    raw = request("POST", "/v2/models/echo/infer", b"\0" * 8, "Inference-Header-Content-Length: 0")
    large = request(
        "POST",
        "/v2/models/echo/infer",
        gzip.compress(JSON_INFER + b" " * 10_000, 0),  # so large that it is inflated on another thread
        "Content-Encoding: gzip",
    )
    for message in (
        infer(),
        request("POST", "/v2/models/echo/infer", JSON_INFER),
        raw,
        request("POST", "/v2/models/echo/infer", gzip.compress(JSON_INFER), "Content-Encoding: gzip"),
        large,
    ):
        running.server.asleep.add("echo")
        client.send(message)
        await asked(running)
        running.server.woken()
        reply = await client.reply()
        assert (reply.status, b'"model_name":"echo"' in reply.body) == (200, True)


async def test_one_load_for_all_who_wait(running, client):
    clients = [client, *[await running.connect() for _ in range(20)]]
    for number, one in enumerate(clients):
        one.send(infer(id=str(number)))
    await asked(running)
    other = await running.connect()
    assert (await other.ask(infer("thread"))).status == 200  # nobody else waits
    async with asyncio.timeout(WAIT_S):
        while len(running.frontend.ports[0].connections) < len(clients) + 1:
            await asyncio.sleep(0.002)
    running.server.woken()
    for number, one in enumerate(clients):
        if running.server.wakes:  # for those whose request had not been read yet
            running.server.woken()
        assert f'"id":"{number}"'.encode() in (await one.reply()).body


async def test_a_model_that_cannot_be_loaded(running, client):
    client.send(infer())
    await asked(running)
    running.server.woken(UnavailableError("no room for model 'echo'"), awake=False)
    reply = await client.reply()
    assert (reply.status, reply.json["error"], reply.headers["Content-Type"]) == (
        503,
        "no room for model 'echo'",
        "text/plain",
    )
    client.send(request("GET", "/v2/models/echo/config"))
    await asked(running)
    running.server.woken(NotFoundError("gone"), awake=False)
    reply = await client.reply()
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/json")


async def test_a_model_that_is_always_pushed_out_again(running, client):
    for message in (infer(), request("GET", "/v2/models/echo")):
        client.send(message)
        for _ in range(ATTEMPTS):
            await asked(running)
            running.server.woken(awake=False)
        reply = await client.reply()
        assert (reply.status, "--model-memory-budget is too small" in reply.json["error"]) == (503, True)
        assert not running.server.wakes


async def test_a_wrong_request_wakes_nobody(running, client):
    reply = await client.ask(request("POST", "/v2/models/echo/infer", b"{"))
    assert (reply.status, "failed to parse" in reply.json["error"]) == (500, True)
    assert not running.server.wakes


async def test_a_request_that_the_model_refuses_once_it_is_there(running, client):
    client.send(request("POST", "/v2/models/echo/infer", JSON_INFER.replace(b"IN", b"BAD")))
    await asked(running)
    running.server.woken()
    assert (await client.reply()).status == 400


async def test_a_client_that_goes_away_while_its_model_loads(running, client):
    client.send(infer())
    await asked(running)
    client.close()
    async with asyncio.timeout(WAIT_S):
        while running.frontend.ports[0].connections:
            await asyncio.sleep(0.002)
    running.server.woken()
    assert (await (await running.connect()).ask(infer(id="later"))).status == 200
    assert [one.id for one in running.server.requests] == ["later"]


async def test_stopping_while_a_model_loads(running, client):
    client.send(infer())
    await asked(running)
    draining = asyncio.ensure_future(running.frontend.drain(WAIT_S))
    await asyncio.sleep(0)
    running.server.woken(UnavailableError("Server is stopping"), awake=False)
    assert (await client.reply()).status == 503
    await asyncio.wait_for(draining, WAIT_S)


async def test_stopping_without_waiting_for_a_model(running, client):
    client.send(infer())
    await asked(running)
    await asyncio.wait_for(running.frontend.drain(0.05), WAIT_S)
    assert await client.closed() == b""
    running.server.woken()


async def test_as_an_asgi_application():
    server = FakeServer()
    server.asleep.add("echo")
    app = asgi_app(server)
    answer = asyncio.ensure_future(ask_asgi(app, "GET", "/v2/models/echo"))
    await asyncio.to_thread(server.wait_for_wake)
    server.woken()
    status, _, body = await answer
    assert (status, json.loads(body)["name"]) == (200, "echo")
    server.asleep.add("echo")
    answer = asyncio.ensure_future(ask_asgi(app, "POST", "/v2/models/echo/infer", JSON_INFER))
    await asyncio.to_thread(server.wait_for_wake)
    server.woken()
    assert (await answer)[0] == 200
