"""Answers that are sent piece by piece: how they are framed, what follows them, and what slow and lost clients do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.frontends.http.test_framing import Transport
from tests.unit.frontends.http.wire import Client, request

from atoll.frontends.apis import Api
from atoll.frontends.http.answer import TEXT, Answer
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.port import Port
from atoll.frontends.http.routes import Route, RouteTable
from atoll.frontends.http.states import State
from atoll.frontends.http.streaming import StreamedBody

GET = request("GET", "/stream")
LIVE = request("GET", "/live")


class Streaming:
    """A port whose `/stream` leaves its exchanges to the test."""

    def __init__(self, limits: ConnectionLimits):
        def begin_later(exchange: Exchange, body: memoryview) -> None:
            self.exchanges.put_nowait(exchange)

        routes = [Route(method, "/stream", begin_later, Api.INFERENCE) for method in ("GET", "HEAD", "POST")]
        routes.append(Route("GET", "/live", lambda exchange, body: Answer(200, [b"live"]), Api.HEALTH))
        self.exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
        self.port = Port(RouteTable(routes), limits)
        self.clients: list[Client] = []

    async def start(self) -> None:
        self.port.open()
        self.server = await self.port.loop.create_server(lambda: HttpConnection(self.port), "127.0.0.1", 0)

    async def connect(self) -> Client:
        client = await Client.connect(self.server.sockets[0].getsockname())
        self.clients.append(client)
        return client

    async def ask(self, data: bytes = GET) -> tuple[Client, Exchange]:
        client = await self.connect()
        client.send(data)
        return client, await self.exchange()

    async def exchange(self) -> Exchange:
        return await asyncio.wait_for(self.exchanges.get(), 20)

    @property
    def connection(self) -> HttpConnection:
        (connection,) = self.port.connections
        assert isinstance(connection, HttpConnection)
        return connection

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.port.stop()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Streaming]]]:
    async with AsyncExitStack() as stack:

        async def starter(**limits: float) -> Streaming:
            streaming = Streaming(ConnectionLimits(**limits))  # type: ignore[arg-type]
            await streaming.start()
            stack.callback(streaming.stop)
            return streaming

        yield starter


@pytest.fixture
async def streaming(start):
    return await start()


async def head_of(client: Client) -> bytes:
    return await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), client.timeout)


async def chunk_of(client: Client) -> bytes:
    size = int((await asyncio.wait_for(client.reader.readuntil(b"\r\n"), client.timeout)), 16)
    chunk = await asyncio.wait_for(client.reader.readexactly(size + 2), client.timeout)
    assert chunk.endswith(b"\r\n")
    return chunk[:-2]


async def test_each_piece_is_a_chunk_and_the_connection_goes_on(streaming):
    client, exchange = await streaming.ask()
    exchange.begin(200, TEXT)
    assert await head_of(client) == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (b"a", bytearray(b"bc"), memoryview(b"d" * 100_000)):
        assert exchange.write(piece) in (True, False)
        assert await chunk_of(client) == piece
    exchange.write(b"")  # would be the end
    exchange.end()
    assert await chunk_of(client) == b""
    assert (await client.ask(LIVE)).body == b"live"


async def test_requests_sent_ahead_wait_for_the_end_of_the_stream(streaming):
    client, exchange = await streaming.ask(GET + LIVE + GET)
    exchange.begin(200)
    exchange.write(b"one")
    client.send(LIVE)
    await head_of(client)
    assert await chunk_of(client) == b"one"
    assert streaming.exchanges.empty()
    exchange.end()
    assert await chunk_of(client) == b""
    assert (await client.reply()).body == b"live"
    second = await streaming.exchange()
    second.begin(400)
    second.end()
    assert (await head_of(client)).startswith(b"HTTP/1.1 400 ")
    assert await chunk_of(client) == b""
    assert (await client.reply()).body == b"live"


async def test_what_is_sent_ahead_during_a_stream_is_bounded(start):
    streaming = await start(max_pipelined_size=1000)
    client, exchange = await streaming.ask()
    exchange.begin(200)
    await head_of(client)
    connection = streaming.connection
    client.send(LIVE * 200_000)
    while not connection._reading_paused:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(connection._waiting) < 600_000
    exchange.end()
    assert await chunk_of(client) == b""
    for _ in range(1000):
        assert (await client.reply()).body == b"live"


@pytest.mark.parametrize("headers", [(), ("Connection: keep-alive",)])
async def test_http_1_0_reads_until_the_connection_ends(streaming, headers):
    client, exchange = await streaming.ask(request("GET", "/stream", b"", *headers, version="1.0"))
    exchange.begin(200)
    exchange.write(b"a")
    exchange.write(b"b" * 100_000)
    exchange.end()
    assert await head_of(client) == b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n"
    assert await client.closed() == b"a" + b"b" * 100_000


async def test_connection_close_is_honoured(streaming):
    client, exchange = await streaming.ask(request("GET", "/stream", b"", "Connection: close"))
    exchange.begin(200)
    exchange.write(b"a")
    exchange.end()
    assert b"\r\nConnection: close\r\n" in await head_of(client)
    assert await client.closed() == b"1\r\na\r\n0\r\n\r\n"


async def test_head_has_no_body(streaming):
    client, exchange = await streaming.ask(request("HEAD", "/stream"))
    exchange.begin(200)
    exchange.write(b"a")
    exchange.end()
    assert b"Transfer-Encoding: chunked" in await head_of(client)
    assert (await client.ask(LIVE)).body == b"live"


async def test_a_stream_that_is_broken_off_has_no_end(streaming):
    lost = []
    client, exchange = await streaming.ask(GET + LIVE)
    exchange.on_gone = lambda: lost.append("gone")
    exchange.begin(200)
    exchange.write(b"a")
    await head_of(client)
    assert await chunk_of(client) == b"a"
    exchange.break_off()
    exchange.write(b"b")
    exchange.end()
    assert await client.closed() == b""
    assert not lost
    other, again = await streaming.ask()
    again.begin(200)
    assert (await head_of(other)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_goes_away_is_reported_once(streaming):
    client, exchange = await streaming.ask()
    lost = asyncio.Queue()
    exchange.on_gone = lambda: lost.put_nowait(1)
    exchange.begin(200)
    await head_of(client)
    client.close()
    await asyncio.wait_for(lost.get(), 20)
    assert exchange.gone
    assert exchange.write(b"to nobody")
    exchange.end()
    exchange.break_off()
    assert lost.empty()


async def test_a_slow_reader_is_told_of_and_so_is_that_it_has_caught_up(streaming):
    client, exchange = await streaming.ask()
    client.writer.transport.pause_reading()
    exchange.begin(200)
    drained = asyncio.Event()
    exchange.on_drained = drained.set
    sent = 0
    while exchange.write(b"x" * 50_000):
        sent += 1
        await asyncio.sleep(0)
    sent += 1
    assert not drained.is_set()
    client.writer.transport.resume_reading()
    await head_of(client)
    for _ in range(sent):
        assert len(await chunk_of(client)) == 50_000
    await asyncio.wait_for(drained.wait(), 20)
    assert exchange.write(b"y")
    exchange.end()
    assert await chunk_of(client) == b"y"
    assert await chunk_of(client) == b""
    assert (await client.ask(LIVE)).body == b"live"


async def test_the_end_of_a_stream_may_come_before_its_reader(streaming):
    client, exchange = await streaming.ask(GET + LIVE)
    client.writer.transport.pause_reading()
    exchange.begin(200)
    while exchange.write(b"x" * 50_000):
        await asyncio.sleep(0)
    exchange.end()
    client.writer.transport.resume_reading()
    await head_of(client)
    while await chunk_of(client):
        pass
    assert (await client.reply()).body == b"live"


async def test_a_reader_that_takes_nothing_is_dropped(start):
    streaming = await start(write_timeout_s=0.2)
    client, exchange = await streaming.ask()
    client.writer.transport.pause_reading()
    lost = asyncio.Event()
    exchange.on_gone = lost.set
    exchange.begin(200)
    while exchange.write(b"x" * 50_000):
        await asyncio.sleep(0)
    await asyncio.wait_for(lost.wait(), 20)


async def test_a_stream_that_is_silent_is_not_timed_out(start):
    streaming = await start(idle_timeout_s=0.2, header_timeout_s=0.2, body_timeout_s=0.2, write_timeout_s=0.2)
    client, exchange = await streaming.ask()
    exchange.begin(200)
    other = await streaming.connect()
    assert await other.closed() == b""  # so a sweep later than every timeout has happened
    exchange.write(b"a")
    exchange.end()
    await head_of(client)
    assert await chunk_of(client) == b"a"


async def test_draining_lets_streams_end(streaming):
    client, exchange = await streaming.ask()
    late, not_begun = await streaming.ask()
    exchange.begin(200)
    drained = asyncio.ensure_future(streaming.port.drain(20))
    await asyncio.sleep(0)
    exchange.write(b"a")
    exchange.end()
    await head_of(client)
    assert await client.closed() == b"1\r\na\r\n0\r\n\r\n"
    not_begun.begin(200)
    not_begun.end()
    assert b"\r\nConnection: close\r\n" in await head_of(late)
    assert await late.closed() == b"0\r\n\r\n"
    await asyncio.wait_for(drained, 20)


async def test_draining_gives_up_after_its_timeout(streaming):
    client, exchange = await streaming.ask()
    lost = asyncio.Event()
    exchange.on_gone = lost.set
    exchange.begin(200)
    await head_of(client)
    await streaming.port.drain(0.05)
    assert await client.closed() == b""
    assert lost.is_set()


async def test_a_body_counts_until_the_stream_ends(streaming):
    client, exchange = await streaming.ask(request("POST", "/stream", bytes(3_000_000)))
    exchange.begin(200)
    assert streaming.port.bodies.held == 3_000_000
    exchange.end()
    assert streaming.port.bodies.held == 0
    await head_of(client)


async def test_an_answer_may_still_be_whole(streaming):
    client, exchange = await streaming.ask(GET + LIVE)
    exchange.answer(Answer(200, [b"whole"]))
    assert (await client.reply()).body == b"whole"
    assert (await client.reply()).body == b"live"


@given(st.lists(st.binary(max_size=300) | st.just(b"x" * 70_000), max_size=12))
def test_pieces_of_any_size_are_the_body(pieces):
    transport = Transport()
    stream = StreamedBody(transport, RequestHead("GET", []), True)  # type: ignore[arg-type]
    for piece in pieces:
        stream.write(piece)
    stream.end()
    body = ChunkedBody(10**7)
    assert body.feed(bytes(transport.written), 0) == (Progress.DONE, len(transport.written))
    assert body.body == b"".join(pieces)


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr("atoll.frontends.http.connection.HALF_CLOSED_S", 60)


async def test_a_client_that_only_stops_sending_is_answered(patience, streaming):
    client, exchange = await streaming.ask(GET + LIVE)
    client.writer.write_eof()
    connection = streaming.connection
    while not connection._half_closed:
        await asyncio.sleep(0)
    exchange.answer(Answer(200, [b"whole"]))
    assert (await client.reply()).body == b"whole"
    assert (await client.reply()).body == b"live"
    assert await client.closed() == b""


async def test_a_client_that_only_stops_sending_gets_a_short_stream(patience, streaming):
    client, exchange = await streaming.ask(GET + GET)
    client.writer.write_eof()
    for piece in (b"one", b"two"):
        exchange.begin(200)
        exchange.write(piece)
        exchange.end()
        await head_of(client)
        assert await chunk_of(client) == piece
        assert await chunk_of(client) == b""
        exchange = None if piece == b"two" else await streaming.exchange()
    assert await client.closed() == b""


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_stops_sending_does_not_keep_its_request_for_long(streaming, begun):
    client, exchange = await streaming.ask()
    lost = asyncio.Event()
    exchange.on_gone = lost.set
    if begun:
        exchange.begin(200)
        await head_of(client)
    client.writer.write_eof()
    await asyncio.wait_for(lost.wait(), 20)
    exchange.answer(Answer(200, [b"to nobody"]))
    assert await client.closed() == b""


async def test_a_client_that_stops_sending_in_its_request_is_gone(streaming):
    client = await streaming.connect()
    client.send(request("POST", "/stream", b"whole")[:-1])
    client.writer.write_eof()
    assert await client.closed() == b""


async def test_half_a_request_behind_the_last_one_is_not_waited_for(patience, streaming):
    client, exchange = await streaming.ask(GET + LIVE[:20])
    client.writer.write_eof()
    exchange.answer(Answer(200, [b"whole"]))
    assert (await client.reply()).body == b"whole"
    assert await client.closed() == b""


async def test_a_request_that_is_refused_anyway_is_not_asked_for_its_body(streaming):
    client = await streaming.connect()
    body = b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    client.send(b"POST /nowhere HTTP/1.1\r\n" + body)
    reply = await client.reply()
    assert (reply.status, reply.headers["Connection"]) == (404, "close")
    assert await client.closed() == b""


async def test_http_1_0_knows_no_leave_to_send(streaming):
    client = await streaming.connect()
    client.send(b"POST /stream HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    while streaming.connection._state is not State.BODY:
        await asyncio.sleep(0)
    client.send(b"ok")
    (await streaming.exchange()).answer(Answer(200, [b"whole"]))
    assert (await client.closed()).startswith(b"HTTP/1.0 200 OK\r\n")
