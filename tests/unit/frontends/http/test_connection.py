"""The HTTP/1.1 protocol over real sockets: persistence, order, and what hostile clients get."""

import asyncio
import json

import pytest
from tests.unit.frontends.http.wire import infer, request

LIVE = request("GET", "/v2/health/live")


async def test_one_connection_carries_many_requests(running):
    client = await running.connect()
    for _ in range(3):
        reply = await client.ask(LIVE)
        assert reply.head == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n"
    reply = await client.ask(infer(id="7"))
    assert reply.status == 200


async def test_pipelined_requests_are_answered_in_order(running):
    client = await running.connect()
    client.send(b"".join(infer("thread" if n % 2 else "echo", id=str(n)) for n in range(20)) + LIVE)
    for n in range(20):
        reply = await client.reply()
        length = int(reply.headers["Inference-Header-Content-Length"])
        assert json.loads(reply.body[:length])["id"] == str(n)
    assert (await client.reply()).body == b""


async def test_connection_close_is_honoured(running):
    client = await running.connect()
    reply = await client.ask(request("GET", "/v2/health/live", b"", "Connection: close"))
    assert reply.head.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
    assert await client.closed() == b""


@pytest.mark.parametrize(("headers", "stays"), [((), False), (("Connection: keep-alive",), True)])
async def test_http_1_0_stays_only_if_asked(running, headers, stays):
    client = await running.connect()
    reply = await client.ask(request("GET", "/v2/health/live", b"", *headers, version="1.0"))
    assert reply.head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert reply.headers["Connection"] == ("keep-alive" if stays else "close")
    if stays:
        assert (await client.ask(LIVE)).status == 200
    else:
        assert await client.closed() == b""


async def test_a_chunked_body_in_http_1_0_ends_the_connection(running):
    client = await running.connect()
    head = b"POST /v2/repository/index HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = await client.ask(head + b"2\r\n{}\r\n0\r\n\r\n" + LIVE)
    assert (reply.status, reply.headers["Connection"]) == (200, "close")
    assert await client.closed() == b""


@pytest.mark.parametrize(("path", "allowed"), [("/v2", "GET"), ("/v2/models/echo/infer", "POST")])
async def test_a_method_that_a_path_does_not_have(running, path, allowed):
    client = await running.connect()
    for method in ("PUT", "DELETE", "OPTIONS"):
        reply = await client.ask(request(method, path))
        assert (reply.status, reply.headers["Allow"]) == (405, allowed)
        assert reply.json == {"error": "Method Not Allowed"}


async def test_head_has_no_body(running):
    client = await running.connect()
    client.send(request("HEAD", "/v2"))
    reply = await client.reply(head_only=True)
    assert (reply.status, reply.headers["Content-Length"]) == (405, "30")
    assert (await client.ask(LIVE)).status == 200


async def test_expect_continue_is_answered_before_the_body(running):
    client = await running.connect()
    data = infer("echo", b"\1" * 16, "", "Expect: 100-continue")
    head, body = data[: data.index(b"\r\n\r\n") + 4], data[data.index(b"\r\n\r\n") + 4 :]
    client.send(head)
    assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    reply = await client.ask(body)
    assert reply.body.endswith(b"\1" * 16)


async def test_a_chunked_body(running):
    client = await running.connect()
    plain = infer("echo", b"\2" * 16)
    head, body = plain.split(b"\r\n\r\n", 1)
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    data = head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n"
    reply = await client.ask(data + LIVE)
    assert reply.status == 200
    assert reply.body.endswith(b"\2" * 16)
    assert (await client.reply()).status == 200


async def test_a_large_body_grows_as_it_comes_and_returns_whole(running):
    client = await running.connect()
    data = bytes(range(256)) * 4 * 1024 * 5  # 5 MiB: over the first allocation
    reply = await client.ask(infer("echo", data))
    assert reply.body.endswith(data)
    assert (await client.ask(LIVE)).status == 200


async def test_a_claimed_length_allocates_no_memory(running, start):
    running = await start(max_body_size=2**40)
    client = await running.connect()
    client.send(b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\nx")
    other = await running.connect()
    assert (await other.ask(LIVE)).status == 200
    (receiving,) = [one for one in running.frontend.ports[0].connections if one._body is not None]
    assert len(receiving._body.memory) <= 2**20


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3000000", b"Transfer-Encoding: chunked"], ids=["length", "chunks"]
)
async def test_what_all_bodies_may_hold_together_is_bounded(start, framing):
    running = await start(max_buffered_size=4 * 2**20)
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\n%s\r\n\r\n" % framing
    piece = bytes(2_900_000)
    if b"chunked" in framing:
        piece = b"2C4020\r\n" + piece
    first = await running.connect()
    first.send(head + piece)
    while running.frontend.ports[0].bodies.held < 2_800_000:
        await asyncio.sleep(0.001)
    second = await running.connect()
    second.send(head + piece)
    refused = await second.reply()
    assert (refused.status, b"as many requests' bodies as it can" in refused.body) == (503, True)
    first.close()
    while running.frontend.ports[0].bodies.held:
        await asyncio.sleep(0.001)
    third = await running.connect()
    assert (await third.ask(infer("echo", bytes(3_000_000)))).status == 200
    assert running.frontend.ports[0].bodies.held == 0


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"GARBAGE\r\n\r\n", 400, "malformed HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "malformed HTTP request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed HTTP request"),
        (b"GET /v2 HTTP/1.1\r\nno colon here\r\n\r\n", 400, "malformed HTTP request"),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "malformed HTTP request"),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed HTTP request"),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed HTTP"),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "malformed HTTP request"),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "transfer coding"),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunked body is broken"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "longer than 8192 bytes"),
        (b"GET /" + b"a" * 70000, 431, "longer than"),
        (b"GET /" + b"a" * 9000, 414, "longer than 8192 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "more than 128 headers"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70000, 431, "longer than 65536 bytes"),
        (
            b"POST /v2 HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n",
            413,
            "exceeds the maximum allowed value of 67108864",
        ),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, "malformed"),
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413, "exceeds the maximum"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_connection_ends(running, data, status, text):
    client = await running.connect()
    reply = await client.ask(data)
    assert reply.status == status
    assert text in reply.json["error"]
    assert reply.headers["Connection"] == "close"
    assert await client.closed() == b""


async def test_a_client_that_sends_on_can_still_read_the_refusal(running):
    client = await running.connect()
    client.send(b"POST /v2 HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
    client.send(b"x" * 3_000_000)
    await client.writer.drain()
    assert (await client.reply()).status == 413


async def test_headers_without_end_time_out(start):
    running = await start(header_timeout_s=0.1)
    client = await running.connect()
    reply = await client.ask(b"GET /v2 HTTP/1.1\r\nHost:")
    assert (reply.status, reply.json["error"]) == (408, "the request did not arrive in time")
    assert await client.closed() == b""


async def test_dripping_headers_do_not_extend_their_time(start):
    running = await start(header_timeout_s=0.2)
    client = await running.connect()
    reply = asyncio.ensure_future(client.reply())
    while not reply.done():
        client.send(b"a")
        await asyncio.wait([reply], timeout=0.02)
    assert (await reply).status == 408


async def test_a_body_that_stops_coming_times_out(start):
    running = await start(body_timeout_s=0.1)
    client = await running.connect()
    reply = await client.ask(b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    assert reply.status == 408


async def test_idle_connections_are_closed(start):
    running = await start(idle_timeout_s=0.3)  # and not so short that it is over before the first request is there
    fresh, used = await running.connect(), await running.connect()
    assert (await used.ask(LIVE)).status == 200
    assert await fresh.closed() == b""
    assert await used.closed() == b""


async def test_a_long_inference_is_not_timed_out(start):
    running = await start(idle_timeout_s=0.2, header_timeout_s=0.2, body_timeout_s=0.2)
    client = await running.connect()
    client.send(infer("wait"))
    other = await running.connect()
    assert await other.closed() == b""  # so a sweep later than every timeout has happened
    await asyncio.to_thread(running.server.arrived.wait)
    running.server.release(running.server.requests[0])
    assert (await client.reply()).status == 200


async def test_too_many_connections(start):
    running = await start(max_connections=2)
    first, second = await running.connect(), await running.connect()
    assert (await first.ask(LIVE)).status == (await second.ask(LIVE)).status == 200
    third = await running.connect()
    reply = await third.reply()
    assert reply.status == 503
    assert "too many connections" in reply.json["error"]
    assert (await first.ask(LIVE)).status == 200


async def test_a_client_that_goes_away_cancels_its_request(running):
    client = await running.connect()
    client.send(infer("wait"))
    await asyncio.to_thread(running.server.arrived.wait)
    (request_,) = running.server.requests
    (connection,) = running.frontend.ports[0].connections
    lost = asyncio.Event()
    connection._exchange.on_gone = lambda on_gone=connection._exchange.on_gone: (on_gone(), lost.set())
    client.close()
    await asyncio.wait_for(lost.wait(), 20)
    assert request_.cancelled
    running.server.release(request_)  # an answer to nobody
    other = await running.connect()
    assert (await other.ask(LIVE)).status == 200


async def test_a_slow_reader_stops_its_own_requests(running):
    client = await running.connect()
    client.writer.transport.pause_reading()
    client.send(infer("echo", b"\0" * 4_000_000) * 8)
    while not running.server.requests:
        await asyncio.sleep(0)
    (connection,) = running.frontend.ports[0].connections
    while not connection._writing_paused:
        await asyncio.sleep(0)
    other = await running.connect()
    for _ in range(50):
        assert (await other.ask(LIVE)).status == 200
    assert len(running.server.requests) < 8
    assert connection._transport.get_write_buffer_size() < 2 * 4_100_000
    assert len(connection._waiting) < 600_000
    client.writer.transport.resume_reading()
    for _ in range(8):
        assert (await client.reply()).status == 200


async def test_a_reader_that_takes_nothing_is_dropped(start):
    running = await start(write_timeout_s=0.2)
    client = await running.connect()
    client.writer.transport.pause_reading()
    client.send(infer("echo", b"\0" * 16_000_000))
    while not running.frontend.ports[0].connections:
        await asyncio.sleep(0)
    while running.frontend.ports[0].connections:
        await asyncio.sleep(0.01)


async def test_drain_answers_what_is_in_flight_and_closes_what_is_idle(running):
    busy, idle = await running.connect(), await running.connect()
    assert (await idle.ask(LIVE)).status == 200
    busy.send(infer("wait"))
    await asyncio.to_thread(running.server.arrived.wait)
    drained = asyncio.ensure_future(running.frontend.drain(20))
    assert await idle.closed() == b""
    running.server.release(running.server.requests[0])
    reply = await busy.reply()
    assert (reply.status, reply.headers["Connection"]) == (200, "close")
    await drained
    with pytest.raises(OSError):
        await running.connect()


async def test_drain_gives_up_after_its_timeout(running):
    client = await running.connect()
    client.send(infer("wait"))
    await asyncio.to_thread(running.server.arrived.wait)
    await running.frontend.drain(0.05)
    assert await client.closed() == b""


async def test_an_address_in_use_is_named(running):
    from atoll.frontends.http.frontend import HttpFrontend, HttpOptions

    _, port = running.frontend.addresses[0]
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        await HttpFrontend(running.server, HttpOptions(port=port)).start()
