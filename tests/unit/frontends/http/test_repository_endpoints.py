"""Loading, unloading and listing models over HTTP."""

import asyncio
import base64
import json

import pytest
from tests.unit.frontends.fake_repository import WAIT_S
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.test_asgi import ask as ask_asgi
from tests.unit.frontends.http.wire import infer, request

from atoll.frontends.http.asgi import asgi_app

MODEL = "/v2/repository/models/echo"


@pytest.fixture
async def client(running):
    return await running.connect()


async def entered(running, count=1):
    for _ in range(count):
        assert await asyncio.to_thread(running.server.entered.acquire, timeout=WAIT_S)


async def test_the_index(client):
    expected = [
        {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: told to fail"},
        {"name": "echo", "version": "1", "state": "READY"},
        {"name": "never"},
    ]
    for path in ("/v2/repository/index", "/v2/repository/some/index"):
        reply = await client.ask(request("POST", path))
        assert (reply.status, reply.json, reply.headers["Content-Type"]) == (200, expected, "application/json")
    assert (await client.ask(request("POST", "/v2/repository/index", b'{"ready":true}'))).json == expected[1:2]
    assert (await client.ask(request("POST", "/v2/repository/index", b'{"ready":1}'))).status == 500


async def test_load_and_unload(running, client):
    parameters = {"config": "{}", "file:1/model.onnx": base64.b64encode(b"onnx").decode()}
    for path, document in (
        (f"{MODEL}/load", {"parameters": parameters}),
        (f"{MODEL}/load", {}),
        (f"{MODEL}/unload", {"parameters": {"unload_dependents": True}}),
        (f"{MODEL}/unload", {}),
    ):
        reply = await client.ask(request("POST", path, json.dumps(document).encode()))
        assert reply.head == b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
    assert (await client.ask(request("POST", f"{MODEL}/unload", b"garbage"))).status == 200
    assert running.server.calls == [
        ("load", "echo", "{}", {"1/model.onnx": b"onnx"}),
        ("load", "echo", "", None),
        ("unload", "echo", True),
        ("unload", "echo", False),
        ("unload", "echo", False),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error", "content_type"),
    [
        ("POST", f"{MODEL}/load", b"{", 500, "failed to parse the request JSON buffer", "application/json"),
        ("POST", f"{MODEL}/load", b'{"parameters":1}', 500, "non-object", "application/json"),
        ("POST", f"{MODEL}/load", b'{"parameters":{"file:1/x":"!"}}', 400, "base64", "application/json"),
        ("POST", "/v2/repository/models/unknown/load", b"", 500, "failed to load 'unknown'", "application/json"),
        ("POST", "/v2/repository/models/bug/load", b"", 500, "ZeroDivisionError", "application/json"),
        ("POST", "/v2/repository/x/models/echo/load", b"", 501, "'repository_name' specification", "application/json"),
        ("POST", "/v2/repository/x/models/echo/unload", b"", 501, "'repository_name' spec", "application/json"),
        ("GET", f"{MODEL}/load", b"", 405, "Method Not Allowed", "application/json"),
        ("POST", MODEL, b"", 404, "Not Found", "text/plain"),
        ("POST", f"{MODEL}/other", b"", 404, "Not Found", "text/plain"),
        ("POST", f"{MODEL}/versions/1/load", b"", 404, "Not Found", "text/plain"),
        ("POST", "/v2/repository/x/y/models/echo/load", b"", 404, "Not Found", "text/plain"),
        ("POST", "/v2/repository/models/a/b/load", b"", 404, "Not Found", "text/plain"),
    ],
)
async def test_refusals(client, method, path, body, status, error, content_type):
    reply = await client.ask(request(method, path, body))
    assert (reply.status, reply.headers["Content-Type"]) == (status, content_type)
    assert error in reply.json["error"]


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_foreign_pages_change_nothing(running, client, action):
    reply = await client.ask(request("POST", f"{MODEL}/{action}", b"", "Origin: https://evil.example"))
    assert reply.status == 403
    assert not running.server.calls


async def test_everything_else_goes_on_while_a_model_loads(running, client):
    loading = await running.connect()
    loading.send(request("POST", "/v2/repository/models/slow/load"))
    await entered(running)
    assert (await client.ask(infer())).status == 200
    assert (await client.ask(request("POST", "/v2/repository/index"))).status == 200
    assert (await client.ask(request("POST", f"{MODEL}/load"))).status == 200
    running.server.let_go.set()
    assert (await loading.reply()).status == 200


async def test_more_loads_than_there_is_room_for(running):
    clients = [await running.connect() for _ in range(300)]
    for number, client in enumerate(clients):
        client.send(request("POST", f"/v2/repository/models/slow{number}/load"))
    await entered(running, 8)
    refused = [await client.reply() for client in clients[264:]]
    assert {reply.status for reply in refused} == {503}
    assert "try again later" in refused[0].json["error"]
    for client in clients[8:]:
        client.close()
    async with asyncio.timeout(WAIT_S):
        while len(running.frontend.ports[0].connections) > 8:
            await asyncio.sleep(0.002)
    running.server.let_go.set()
    assert {(await client.reply()).status for client in clients[:8]} == {200}
    assert (await (await running.connect()).ask(request("POST", f"{MODEL}/unload"))).status == 200
    assert len(running.server.calls) == 9  # nothing was loaded for those who went away


async def test_draining_finishes_what_has_begun_and_refuses_what_has_not(running):
    clients = [await running.connect() for _ in range(9)]
    for number, client in enumerate(clients):
        client.send(request("POST", f"/v2/repository/models/slow{number}/load"))
    await entered(running, 8)
    draining = asyncio.ensure_future(running.frontend.drain(WAIT_S))
    replies = [asyncio.ensure_future(client.reply()) for client in clients]
    done, _ = await asyncio.wait(replies, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
    (refused,) = [one.result() for one in done]
    assert (refused.status, "stopping" in refused.json["error"]) == (503, True)
    assert not draining.done()
    running.server.let_go.set()
    assert sorted([reply.status for reply in await asyncio.gather(*replies)]) == [200] * 8 + [503]
    await asyncio.wait_for(draining, WAIT_S)


async def test_a_load_that_does_not_end_does_not_keep_the_server_from_stopping(running, client):
    client.send(request("POST", "/v2/repository/models/slow/load"))
    await entered(running)
    await asyncio.wait_for(running.frontend.drain(0.05), WAIT_S)
    await asyncio.wait_for(running.frontend.stop(), WAIT_S)
    assert await client.closed() == b""
    running.server.let_go.set()


async def test_as_an_asgi_application():
    server = FakeServer()
    app = asgi_app(server)
    assert (await ask_asgi(app, "POST", f"{MODEL}/load"))[0] == 200
    assert len(json.loads((await ask_asgi(app, "POST", "/v2/repository/index"))[2])) == 3
    messages = [{"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop()

    async def send(message):
        assert message["type"] == "lifespan.shutdown.complete"

    await app({"type": "lifespan"}, receive, send)
    assert (await ask_asgi(app, "POST", f"{MODEL}/load"))[0] == 503
    assert server.calls == [("load", "echo", "", None)]
