"""Who may use the ASGI application: the same gate as in front of a port."""

import asyncio
import gc
import json
import threading

import pytest
from tests.unit.frontends.access.key_files import key_text, put
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.test_asgi import ask

from atoll.errors import InvalidArgumentError
from atoll.frontends.http.asgi import asgi_app

PAGE = "https://page.example"
KEY = [(b"x-api-key", b"key-a")]


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def path(tmp_path):
    put(tmp_path / "keys", key_text({"name": "a", "key": "key-a", "models": ["echo"]}))
    return tmp_path / "keys"


def watchers():
    return [one for one in threading.enumerate() if one.name == "api keys"]


async def end(app):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(_):
        pass

    await app({"type": "lifespan"}, receive, send)


async def test_a_key_is_asked_for(server, path):
    app = asgi_app(server, api_key_file=str(path))
    status, headers, body = await ask(app, "GET", "/v2")
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert "needed" in json.loads(body)["error"]
    assert (await ask(app, "GET", "/v2", headers=KEY))[0] == 200
    assert (await ask(app, "GET", "/v2/models/thread", headers=KEY))[0] == 403
    assert (await ask(app, "GET", "/v2/health/live"))[0] == 200
    assert len(watchers()) == 1
    await end(app)
    assert not watchers()


async def test_an_application_that_is_dropped_leaves_no_thread(server, path):
    app = asgi_app(server, api_key_file=str(path))
    assert len(watchers()) == 1
    del app
    gc.collect()
    assert not watchers()


async def test_the_body_of_a_stranger_is_not_received(server, path):
    app = asgi_app(server, api_key_file=str(path))
    scope = {"type": "http", "method": "POST", "path": "/v2/models/echo/infer", "headers": []}
    sent = []

    async def receive():
        raise AssertionError("nobody is to wait for it")

    async def send(message):
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 20)
    assert sent[0]["status"] == 401
    await end(app)


async def test_restricted_apis(server):
    app = asgi_app(server, http_restricted_api=["metadata:X-Secret=s"])
    assert (await ask(app, "GET", "/v2"))[0] == 403
    assert (await ask(app, "GET", "/v2", headers=[(b"x-secret", b"s")]))[0] == 200


async def test_pages_are_told(server):
    app = asgi_app(server, cors_allow_origin=[PAGE])
    origin = [(b"origin", PAGE.encode())]
    status, headers, _ = await ask(app, "GET", "/v2", headers=origin)
    assert (status, headers[b"access-control-allow-origin"]) == (200, PAGE.encode())
    preflight = [*origin, (b"access-control-request-method", b"GET")]
    status, headers, _ = await ask(app, "OPTIONS", "/v2", headers=preflight)
    assert (status, headers[b"access-control-allow-methods"]) == (200, b"GET")


@pytest.mark.parametrize("options", [{"http_port": 0}, {"api_key": "x"}, {"cors_allow_origin": ["page"]}])
def test_options_that_cannot_be(server, options):
    with pytest.raises(InvalidArgumentError):
        asgi_app(server, **options)
