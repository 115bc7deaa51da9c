"""Large DATA frames, whose payload the transport writes where the message is put together: every way to cut them."""

import asyncio
import hashlib
import itertools
import socket
import struct
from collections.abc import Iterator

import pytest
from hpack import Decoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.frontends.grpc.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    FrameReader,
    frame,
    greeting,
    headers,
    message,
)
from tests.unit.frontends.loop_thread import WAIT_S

KIB = 1024


def body_of(size: int, seed: int) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


class Client:
    """A connection that minds the windows it is given."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(WAIT_S)
        self._decoder = Decoder()
        self._reader = FrameReader()
        self._windows: dict[int, int] = {0: 65535}
        self._initial = 65535
        self.answers: dict[int, bytes] = {}
        self.statuses: dict[int, str] = {}
        self._socket.sendall(greeting())

    def close(self) -> None:
        self._socket.close()

    def open(self, stream: int) -> None:
        self._windows[stream] = self._initial
        self._socket.sendall(frame(HEADERS, END_HEADERS, stream, headers("/t/digest")))

    def send(self, stream: int, payload: bytes, *, last: bool = False, padding: int = 0, cut: int = 0) -> None:
        """One DATA frame, sent in two pieces if `cut`."""
        flags = END_STREAM if last else 0
        if padding:
            flags |= PADDED
            payload = bytes([padding]) + payload + bytes(padding)
        while min(self._windows[0], self._windows[stream]) < len(payload):
            self._take()
        for one in (0, stream):
            self._windows[one] -= len(payload)
        whole = frame(DATA, flags, stream, payload)
        cut = min(cut, len(whole))
        self._socket.sendall(whole[:cut])
        self._socket.sendall(whole[cut:])

    def reset(self, stream: int) -> None:
        self._socket.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ended(self, stream: int) -> str:
        """The gRPC status of a call."""
        while stream not in self.statuses:
            self._take()
        return self.statuses[stream]

    def settle(self) -> None:
        """Until the server's settings have come."""
        while self._initial == 65535:
            self._take()

    def _take(self) -> None:
        more = self._socket.recv(1 << 20)
        assert more, "the server closed the connection"
        self._reader.feed(more)
        for kind, flags, stream, payload in self._reader.frames():
            if kind == WINDOW_UPDATE:
                self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(payload, "big")
            elif kind == SETTINGS and not flags & ACK:
                for at in range(0, len(payload), 6):
                    key, value = struct.unpack(">HI", payload[at : at + 6])
                    self._initial = value if key == 4 else self._initial
            elif kind == HEADERS:
                fields = dict(self._decoder.decode(payload))
                if "grpc-status" in fields:
                    self.statuses[stream] = fields["grpc-status"]
            elif kind == DATA:
                self.answers[stream] = self.answers.get(stream, b"") + payload


@pytest.fixture
def serving(serve_nghttp2):
    async def digest(call, body):
        await asyncio.sleep(0)
        return hashlib.sha256(body).digest()

    return serve_nghttp2({"/t/digest": digest}, {})


@pytest.fixture
def client(serving) -> Iterator[Client]:
    made = Client(serving.port)
    made.settle()
    yield made
    made.close()
    serving.eventually(lambda: serving.transport.connections == 0)
    assert serving.ask(lambda: serving.transport.buffered_bytes) == 0


def expect(client: Client, stream: int, body: bytes) -> None:
    assert client.ended(stream) == "0"
    assert client.answers[stream] == message(hashlib.sha256(body).digest())


NUMBERS = itertools.count(1, 2)
SIZES = st.sampled_from([0, 1, 9, 100, 32 * KIB, 33 * KIB, 70_000, 262_144, 300_000, 500_000])  # half a window at most


BODIES = st.sampled_from([0, 40_000, 200_000, 1 << 20, (1 << 20) + 700, 2_500_000])
PIECES = st.tuples(SIZES, st.sampled_from([0, 0, 1, 255]), SIZES, st.integers(0, 2))  # size, padding, cut, which call
REST = (500_000, 0, 5_000, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BODIES, min_size=1, max_size=3), st.lists(PIECES, max_size=20))
def test_messages_come_out_whole_however_they_are_framed(
    client: Client, sizes: list[int], pieces: list[tuple[int, int, int, int]]
) -> None:
    bodies = {next(NUMBERS): body_of(size, seed) for seed, size in enumerate(sizes)}
    left = {number: message(body) for number, body in bodies.items()}
    for number in left:
        client.open(number)
    for size, padding, cut, which in itertools.chain(pieces, itertools.repeat(REST)):
        if not left:
            break
        number = list(left)[which % len(left)]
        piece, rest = left[number][:size], left[number][size:]
        client.send(number, piece, last=not rest, padding=padding, cut=cut)
        left[number] = rest
        if not rest:
            del left[number]
    for number, body in bodies.items():
        expect(client, number, body)


def test_a_call_reset_in_the_middle_of_a_frame_takes_no_other_along(client: Client) -> None:
    first, second, third = (next(NUMBERS) for _ in range(3))
    body = body_of(900_000, 7)
    for number in (first, second):
        client.open(number)
        client.send(number, message(body)[:400_000])
    client.reset(first)
    client.send(second, message(body)[400_000:], last=True, cut=200_000)
    expect(client, second, body)
    client.open(third)
    client.send(third, message(body), last=True)
    expect(client, third, body)


def test_a_frame_that_goes_on_after_its_message_is_no_part_of_it(client: Client) -> None:
    number = next(NUMBERS)
    body = body_of(500_000, 8)
    client.open(number)
    client.send(number, message(body)[:100_000])
    client.send(number, message(body)[100_000:] + bytes(100_000), last=True, cut=300_000)
    expect(client, number, body)


def test_a_client_that_goes_away_in_the_middle_of_a_frame_leaves_nothing(serving) -> None:
    client = Client(serving.port)
    client.settle()
    number = next(NUMBERS)
    client.open(number)
    client.send(number, message(bytes(900_000))[:100_000])
    client.raw(frame(DATA, 0, number, bytes(400_000))[:150_000])
    client.close()
    serving.eventually(lambda: serving.transport.connections == 0)
    assert serving.ask(lambda: serving.transport.buffered_bytes) == 0


def test_a_message_that_is_too_long_is_refused_before_its_frame_is_there(serve_nghttp2) -> None:
    serving = serve_nghttp2({"/t/digest": lambda call, body: body}, {}, max_message_bytes=500_000)
    client = Client(serving.port)
    client.settle()
    client.open(1)
    client.raw(frame(DATA, 0, 1, message(bytes(600_000)))[:300_000])
    assert client.ended(1) == "8"
    client.close()
    serving.eventually(lambda: serving.transport.connections == 0)
    assert serving.ask(lambda: serving.transport.buffered_bytes) == 0
