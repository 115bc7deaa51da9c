"""The endpoints as an ASGI application."""

import asyncio
import json

import pytest
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import infer

from atoll.frontends.http.asgi import asgi_app


@pytest.fixture
def server():
    return FakeServer()


async def ask(app, method, path, body=b"", headers=(), **scope):
    """Status, headers and body of an answer; the body of the request in two pieces."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": list(headers),
        **scope,
    }
    half = len(body) // 2
    incoming = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:]},
    ]
    sent = []

    async def receive():
        if incoming:
            return incoming.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 20)
    start, content = sent
    return start["status"], dict(start["headers"]), content["body"]


async def test_documents_and_refusals(server):
    app = asgi_app(server)
    status, headers, body = await ask(app, "GET", "/v2")
    assert (status, headers[b"content-type"], json.loads(body)["name"]) == (200, b"application/json", "atoll")
    assert headers[b"content-length"] == b"%d" % len(body)
    assert (await ask(app, "GET", "/v2/models/nope"))[0] == 404
    assert (await ask(app, "HEAD", "/v2"))[2] == b""
    assert (await ask(app, "GET", "/mounted/v2", root_path="/mounted"))[0] == 200


@pytest.mark.parametrize("model", ["echo", "thread"])
async def test_inference(server, model):
    head, body = infer(model, b"\3" * 16).split(b"\r\n\r\n", 1)
    (length,) = (line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Inference-Header"))
    headers = [(b"inference-header-content-length", length)]
    status, answered, content = await ask(asgi_app(server), "POST", f"/v2/models/{model}/infer", body, headers)
    assert (status, content[-16:]) == (200, b"\3" * 16)
    assert answered[b"inference-header-content-length"] == b"%d" % (len(content) - 16)


async def test_a_body_over_the_limit(server):
    status, _, body = await ask(asgi_app(server, max_body_size=10), "POST", "/v2/models/echo/infer", b"x" * 1000)
    assert (status, b"maximum allowed value of 10 bytes" in body) == (413, True)


async def test_a_client_that_goes_away_cancels_its_request(server):
    gone = asyncio.Event()
    body = infer("wait").split(b"\r\n\r\n", 1)[1]
    length = b"%d" % (len(body) - 16)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v2/models/wait/infer",
        "headers": [(b"inference-header-content-length", length)],
    }
    incoming = [{"type": "http.request", "body": body}]

    async def receive():
        if incoming:
            return incoming.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)

    serving = asyncio.ensure_future(asgi_app(server)(scope, receive, send))
    await asyncio.to_thread(server.arrived.wait)
    gone.set()
    await asyncio.wait_for(serving, 20)
    assert server.requests[0].cancelled
    assert not sent
    server.release(server.requests[0])


async def test_lifespan(server):
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message["type"])

    await asgi_app(server)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
