"""What pages of other origins are told stands in every answer: whole ones, streams, and refusals without a body."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.frontends.http.wire import Client, request

from atoll.frontends.access.cors import Cors
from atoll.frontends.access.http_gate import HttpGate
from atoll.frontends.access.restrictions import http_restrictions
from atoll.frontends.apis import Api
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.port import Port
from atoll.frontends.http.routes import Route, RouteTable

PAGE = "https://page.example"
ORIGIN = f"Origin: {PAGE}"


def whole(exchange: Exchange, body: memoryview) -> Answer:
    return Answer(200, [b"whole"])


def stream(exchange: Exchange, body: memoryview) -> None:
    exchange.begin(200, b"Content-Type: text/plain\r\n")
    exchange.write(b"piece")
    exchange.end()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    cors = Cors(frozenset({PAGE}), False, "content-type", frozenset({"GET", "POST"}), 5)
    routes = [
        Route("GET", "/whole", whole, Api.METADATA),
        Route("GET", "/stream", stream, Api.METADATA),
        Route("POST", "/secret", whole, Api.TRACE),
    ]
    port = Port(RouteTable(routes, HttpGate(http_restrictions(["trace:k=v"]), cors=cors)), ConnectionLimits())
    port.open()
    server = await port.loop.create_server(lambda: HttpConnection(port), "127.0.0.1", 0)
    client = await Client.connect(server.sockets[0].getsockname())
    yield client
    client.close()
    server.close()
    port.stop()


async def head_of(client: Client, data: bytes) -> tuple[int, dict[str, str]]:
    reply = await asyncio.wait_for(client.ask(data), 20)
    return reply.status, {name.lower(): value for name, value in reply.headers.items()}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/whole", b"", ORIGIN), 200),
        (request("POST", "/whole", b"", ORIGIN), 405),
        (request("GET", "/nowhere", b"", ORIGIN), 404),
        (request("POST", "/secret", b"small", ORIGIN), 403),
        (request("PUT", "/secret", b"", ORIGIN, "Content-Length: 999999"), 403),
        (request("OPTIONS", "/whole", b"", ORIGIN, "Access-Control-Request-Method: GET"), 200),
    ],
)
async def test_every_answer_says_so(client: Client, data: bytes, status: int) -> None:
    got, headers = await head_of(client, data)
    assert (got, headers["access-control-allow-origin"], headers["vary"]) == (status, PAGE, "Origin")


async def test_a_stream_says_so(client: Client) -> None:
    client.send(request("GET", "/stream", b"", ORIGIN))
    reply = await asyncio.wait_for(client.reply(head_only=True), 20)
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    assert reply.headers["Content-Type"] == "text/plain"


async def test_others_are_told_nothing_but_that_it_depends(client: Client) -> None:
    _, headers = await head_of(client, request("GET", "/whole", b"", "Origin: https://other.example"))
    assert "access-control-allow-origin" not in headers
    assert headers["vary"] == "Origin"
