"""Compression of messages apart from any connection: bounds, order, and what is counted."""

import asyncio
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.frontends.grpc.nghttp2.compression import INLINE_BYTES, Deflater, Inflater, algorithm_for
from atoll.frontends.grpc.transport import Compression

BITS = {b"gzip": 31, b"deflate": 15}


class Call:
    """A call that remembers what is done to it, and counts as the real one does."""

    def __init__(self, cap=1 << 40):
        self.cap, self.charged, self.most = cap, 0, 0
        self.messages, self.pushed = [], []
        self.over = asyncio.Event()
        self.status = None

    def charge(self, size):
        if self.charged + size > self.cap:
            self.finish(8, "full")
            return False
        self.charged += size
        self.most = max(self.most, self.charged)
        return True

    def refund(self, size):
        self.charged -= size
        assert self.charged >= 0

    def inflated(self, message):
        self.messages.append(message)
        if message == b"last":
            self.over.set()

    def push(self, parts, compressed):
        self.pushed.append((b"".join(parts), compressed))

    def finish(self, code, text):
        self.status = (code, text)
        self.over.set()


def packed(data, encoding):
    return zlib.compress(data, wbits=BITS[encoding])


async def inflate(messages, encoding=b"gzip", limit=1 << 30, cap=1 << 40):
    call = Call(cap)
    inflater = Inflater(call, encoding, limit, asyncio.get_running_loop())
    for body, compressed in [*messages, (b"last", False)]:
        if call.charge(len(body)):
            inflater.add(body, compressed)
    await asyncio.wait_for(call.over.wait(), 20)
    return call


@pytest.mark.parametrize("encoding", list(BITS))
async def test_messages_keep_their_order_whatever_thread_does_them(encoding):
    bodies = [bytes([k]) * (3_000_000 if k % 3 == 0 else k) for k in range(12)]
    messages = [(packed(body, encoding), True) if k % 2 else (body, False) for k, body in enumerate(bodies)]
    call = await inflate(messages, encoding)
    assert call.messages == [*bodies, b"last"]
    assert call.charged == 0


@given(st.binary(max_size=3000), st.sampled_from(sorted(BITS)))
def test_any_message_reads_back(body, encoding):
    async def check():
        call = await inflate([(packed(body, encoding), True)], encoding)
        assert call.messages == [body, b"last"]
        assert call.charged == 0

    asyncio.run(check())


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reader(body):
    async def check():
        call = await inflate([(body, True)])
        assert call.status is not None or call.messages[-1] == b"last"

    asyncio.run(check())


@pytest.mark.parametrize("size", [4 * INLINE_BYTES - 1, 4 * INLINE_BYTES, 4 * INLINE_BYTES + 1, (4 << 20) + 7, 9 << 20])
async def test_sizes_around_the_steps_read_back(size):
    call = await inflate([(packed(bytes(size), b"gzip"), True)])
    assert [len(message) for message in call.messages] == [size, 4]


@pytest.mark.parametrize("size", [1_000_001, 100 << 20])
async def test_a_message_over_the_limit_stops_there(size):
    call = await inflate([(packed(bytes(size), b"gzip"), True)], limit=1_000_000)
    assert call.status[0] == 8
    assert "Received message larger than max" in call.status[1]
    assert call.most < 8 << 20


async def test_exactly_the_limit_is_allowed():
    call = await inflate([(packed(bytes(1_000_000), b"gzip"), True)], limit=1_000_000)
    assert len(call.messages[0]) == 1_000_000


async def test_a_bomb_stops_at_the_cap():
    call = await inflate([(packed(bytes(100 << 20), b"gzip"), True)], cap=10 << 20)
    assert call.status == (8, "full")


async def test_a_truncated_message_is_an_error():
    call = await inflate([(packed(bytes(5_000_000), b"gzip")[:-20], True)])
    assert call.status[0] == 13
    assert "Unexpected error decompressing data for algorithm gzip" in call.status[1]


async def test_responses_keep_their_order_and_the_status_comes_last():
    call = Call()
    deflater = Deflater(call, b"gzip", asyncio.get_running_loop())
    bodies = [bytes([k]) * (500_000 if k % 3 == 0 else 100 + k) for k in range(9)]
    for body in bodies:
        assert call.charge(len(body))
        deflater.write([body[:50], body[50:]])
    assert deflater.waiting_bytes > 0
    deflater.finish(0, "")
    await asyncio.wait_for(call.over.wait(), 20)
    assert [zlib.decompress(body, 31) if flag else body for body, flag in call.pushed] == bodies
    assert (call.status, call.charged, deflater.waiting_bytes) == ((0, ""), 0, 0)


async def test_what_does_not_shrink_goes_as_it_is():
    call = Call()
    call.charge(2)
    Deflater(call, b"deflate", asyncio.get_running_loop()).write([b"ab"])
    assert call.pushed == [(b"ab", False)]


@pytest.mark.parametrize(
    ("level", "accepted", "algorithm"),
    [
        (Compression.NONE, b"gzip", None),
        (Compression.LOW, b"identity, deflate, gzip", b"gzip"),
        (Compression.MEDIUM, b"identity, deflate, gzip", b"deflate"),
        (Compression.HIGH, b"identity, deflate, gzip", b"deflate"),
        (Compression.HIGH, b"gzip", b"gzip"),
        (Compression.LOW, b"deflate", b"deflate"),
        (Compression.LOW, b"identity,snappy", None),
        (Compression.LOW, b"", None),
    ],
)
def test_a_level_picks_what_grpc_core_would(level, accepted, algorithm):
    assert algorithm_for(level, accepted) == algorithm
