"""Clients that read nothing from the beginning: whatever they wait for, it does not last for ever."""

import asyncio
import logging

import pytest
from tests.unit.frontends.http.test_framing import Transport

from atoll.frontends.apis import Api
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.port import Port
from atoll.frontends.http.routes import Route, RouteTable
from atoll.frontends.http.states import State

HEAD = b"POST /stream HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST /stream HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"


class Full(Transport):
    """Takes what is written, and says at the first piece that it is too much."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: HttpConnection
        self.full = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.full:
            self.full = True
            self.connection.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.written)


class Client:
    """One connection, and the exchanges that its requests became."""

    def __init__(self) -> None:
        def keep(exchange: Exchange, body: memoryview) -> Answer | None:
            self.exchanges.append(exchange)
            return None

        self.exchanges: list[Exchange] = []
        self.port = Port(RouteTable([Route("POST", "/stream", keep, Api.INFERENCE)]), ConnectionLimits())
        self.transport = Full()
        self.connection = self.transport.connection = HttpConnection(self.port)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        buffer = self.connection.get_buffer(-1)
        buffer[: len(data)] = data
        self.connection.buffer_updated(len(data))


async def test_a_stream_to_a_client_that_was_behind_before_it_began() -> None:
    client = Client()
    client.send(HEAD)  # the invitation to go on is already more than the client takes
    client.send(b"body")
    (exchange,) = client.exchanges
    exchange.begin(200)
    assert not exchange.write(b"event")
    assert client.connection.deadline < float("inf")
    client.connection.expire(client.connection.deadline)
    assert client.transport.closed


async def test_a_client_that_has_caught_up_before_its_answer_has_no_deadline() -> None:
    client = Client()
    client.send(HEAD)
    client.send(b"body")
    client.connection.pause_writing()
    client.connection.resume_writing()
    assert client.connection.deadline == float("inf")
    client.connection.expire(0)
    assert client.connection._state is State.ANSWER
    client.exchanges[0].answer(Answer(200, [b"late"]))
    assert client.transport.written.endswith(b"late")


async def test_a_chunked_body_that_came_while_the_client_was_behind_is_taken_up() -> None:
    client = Client()
    client.send(CHUNKED)
    client.send(b"4\r\nbody\r\n0\r\n\r\n")
    assert not client.exchanges
    client.connection.resume_writing()
    assert len(client.exchanges) == 1


async def test_what_goes_wrong_with_one_connection_does_not_end_the_watch_over_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        deadline = 0.0
        aborted = False

        def expire(self, now: float) -> None:
            raise AssertionError("a bug")

        def abort(self) -> None:
            self.aborted = True

    client = Client()
    broken = Broken()
    client.port.connections = {broken, client.connection}  # type: ignore[arg-type]
    client.connection.deadline = 0.0
    with caplog.at_level(logging.ERROR, logger="atoll"):
        client.port._sweep()
    assert client.port._sweeper is not None
    assert broken.aborted
    assert client.transport.closed
    assert "a bug" in caplog.text
    client.port.stop()
    await asyncio.sleep(0)
