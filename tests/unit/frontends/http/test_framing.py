"""Where the pieces of a byte stream are cut changes nothing, and no bytes make a connection fail."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import infer, request
from tests.unit.frontends.loop_thread import WAIT_S

from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.port import Port
from atoll.frontends.http.service import HttpService

CHUNKED = (
    b"POST /v2/repository/index HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5;x=y\r\n{"rea\r\n9\r\ndy":true}\r\n0\r\nTrailer: t\r\n\r\n'
)
REQUESTS = [
    request("GET", "/v2"),
    request("GET", "/v2/models/echo"),
    request("GET", "/nowhere"),
    request("POST", "/v2/repository/index", b'{"ready":true}'),
    infer("echo", b"\1\2\3\4" * 4, "7"),
    infer("fail"),
    infer("echo", b"\5" * 3000),
    CHUNKED,
    b"\r\n" + request("GET", "/v2/health/live"),
]


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def talk(pieces: list[bytes]) -> Transport:
    """What a connection answers when these pieces arrive, each as soon as the connection reads.

    Some answers come from threads, so they are waited for.
    """
    loop = asyncio.get_running_loop()
    limits = ConnectionLimits(max_body_size=1_000_000)
    server = FakeServer()
    service = HttpService(server, loop, limits.max_body_size)
    connection, transport = HttpConnection(Port(service.routes, limits)), Transport()
    connection.connection_made(transport)
    for piece in pieces:
        position = 0
        while position < len(piece) and not transport.closed:
            async with asyncio.timeout(WAIT_S):
                while transport.paused:
                    await asyncio.sleep(0)
            buffer = connection.get_buffer(-1)
            part = piece[position : position + len(buffer)]
            buffer[: len(part)] = part
            connection.buffer_updated(len(part))
            position += len(part)
        await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        while connection._exchange is not None:
            await asyncio.sleep(0)
    connection.connection_lost(None)
    return transport


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5), st.lists(st.integers(0, 10**6), max_size=12))
def test_cuts_change_nothing(chosen, places):
    stream = b"".join(chosen)
    whole = asyncio.run(talk([stream]))
    pieces = asyncio.run(talk(cut(stream, places)))
    assert whole.written.count(b"HTTP/1.1 ") == len(chosen)
    assert pieces.written == whole.written


def test_one_byte_at_a_time():
    stream = b"".join(REQUESTS[:5]) + CHUNKED
    one_by_one = asyncio.run(talk([bytes([byte]) for byte in stream]))
    assert one_by_one.written == asyncio.run(talk([stream])).written


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from([*REQUESTS, b"\r\n\r\n", b"POST /v2 HTTP/1.1\r\n", b"Content-Length: 5\r\n"]),
        max_size=6,
    )
)
def test_no_bytes_make_a_connection_fail(pieces):
    transport = asyncio.run(talk(pieces))
    assert not transport.written or transport.written.startswith(b"HTTP/1.")
    assert b"internal error" not in transport.written


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1), st.lists(st.integers(0, 1000), max_size=8))
def test_chunks_of_any_size_cut_anywhere(data, sizes, places):
    stream, position, turn = b"", 0, 0
    while position < len(data):
        piece = data[position : position + sizes[turn % len(sizes)]]
        stream += b"%x\r\n%b\r\n" % (len(piece), piece)
        position += len(piece)
        turn += 1
    stream += b"0\r\n\r\n"
    chunked = ChunkedBody(1000)
    progress = Progress.MORE
    for piece in cut(stream, places):
        if piece:
            assert progress is Progress.MORE
            progress, position = chunked.feed(piece, 0)
            assert position == len(piece)
    assert progress is Progress.DONE
    assert chunked.body == data


def test_chunked_bodies_are_bounded():
    assert ChunkedBody(10).feed(b"b\r\n", 0)[0] is Progress.TOO_LARGE
    assert ChunkedBody(10).feed(b"6\r\nabcdef\r\n5\r\n", 0)[0] is Progress.TOO_LARGE
    assert ChunkedBody(10).feed(b"1;" + b"x" * 1000, 0)[0] is Progress.MALFORMED
    assert ChunkedBody(10).feed(b"0\r\n" + b"a: b\r\n" * 2000, 0)[0] is Progress.MALFORMED
    for wrong in (b"\r\n", b"-1\r\n", b"0x1\r\n", b"1 2\r\n", b"1\n", b"1\r\nab\r\n", b"f" * 16 + b"\r\n", b"+1\r\n"):
        assert ChunkedBody(10).feed(wrong, 0)[0] is Progress.MALFORMED, wrong


def test_what_follows_a_chunked_body_is_left():
    stream = b"1\r\na\r\n0\r\n\r\nGET"
    assert ChunkedBody(10).feed(stream, 0) == (Progress.DONE, len(stream) - 3)
