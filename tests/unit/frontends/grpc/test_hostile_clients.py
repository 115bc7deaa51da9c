"""Raw frames against the nghttp2 transport: what a client may do that no library would."""

import asyncio
import socket
import struct
import zlib

import grpc
import psutil
import pytest
from hpack import Decoder
from tests.unit.frontends.grpc.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
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

from atoll.frontends.grpc.transport import PENDING, Compression

pytestmark = pytest.mark.slow  # it waits for clients that go away

ENHANCE_YOUR_CALM = 11


def request(stream, body, path="/t/echo", extra=()):
    """A whole call, its data cut into frames of 16 KiB."""
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
    frames = [frame(DATA, END_STREAM if piece is pieces[-1] else 0, stream, piece) for piece in pieces]
    return frame(HEADERS, END_HEADERS, stream, headers(path, extra)) + b"".join(frames)


class Attack:
    """One raw connection, and what came back on it."""

    def __init__(self, serving, settings=b"", preface=True):
        self.socket = socket.create_connection(("127.0.0.1", serving.port))
        self.socket.settimeout(WAIT_S)
        self.decoder = Decoder()
        self.reader = FrameReader()
        self.closed = False
        if preface:
            self.socket.sendall(greeting(settings))

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.socket.close()

    def send(self, data):
        """False once the server has cut the connection."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def frames(self):
        """Frames as (kind, flags, stream, payload) until the server closes."""
        while True:
            yield from self.reader.frames()
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionError:
                more = b""
            if not more:
                self.closed = True
                return
            self.reader.feed(more)

    def headers_of(self, stream):
        """The next header frame of a stream as a dictionary."""
        for kind, _, found, payload in self.frames():
            if kind == HEADERS:
                decoded = dict(self.decoder.decode(payload))
                if found == stream:
                    return decoded
        raise AssertionError("the connection was closed without an answer")

    def goaway(self):
        """The code and reason of the last GOAWAY before the server closes."""
        last = None
        for kind, _, _, payload in self.frames():
            if kind == GOAWAY:
                last = int.from_bytes(payload[4:8], "big"), payload[8:]
        return last


def _until(attack, kind, flags=0):
    """Frames up to and with the first of this kind that has these flags."""
    for one in attack.frames():
        yield one
        if one[0] == kind and one[1] & flags == flags:
            return


def refusal(attack, stream=1):
    answer = attack.headers_of(stream)
    return int(answer["grpc-status"]), answer.get("grpc-message", "")


async def echo_stream(call):
    async for one in call:
        await call.send(one)


@pytest.fixture
def serve_echo(serve_nghttp2):
    """serve_echo(**options): a server that must be well, and hold nothing, when the test is over."""
    running = []

    def serve(**options):
        unary = {
            "/t/echo": lambda call, body: body,
            "/t/big": lambda call, body: bytes(1_000_000),
            "/t/never": lambda call, body: PENDING,
        }
        running.append(serve_nghttp2(unary, {"/t/stream": echo_stream}, **options))
        return running[-1]

    yield serve
    for serving in running:
        with serving.channel() as channel:
            assert channel.unary_unary("/t/echo")(b"well?", timeout=WAIT_S) == b"well?"
        serving.eventually(lambda serving=serving: serving.transport.connections == 0)
        assert serving.ask(lambda serving=serving: serving.transport.calls_in_flight) == 0
        assert serving.ask(lambda serving=serving: serving.transport.buffered_bytes) == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff" * 50),
        PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 7, b"x"),
        PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        PREFACE + frame(SETTINGS, 0, 0) + b"\x10\x00\x00\x00\x00\x00\x00\x00\x01",
        PREFACE + frame(PING, 0, 0, bytes(8)),
    ],
)
def test_garbage_ends_the_connection(serve_echo, garbage):
    with Attack(serve_echo(), preface=False) as attack:
        attack.send(garbage)
        attack.goaway()
        assert attack.closed


def test_a_client_that_says_nothing_is_cut(serve_echo):
    with Attack(serve_echo(handshake_timeout_ms=50), preface=False) as attack:
        attack.goaway()
        assert attack.closed


def test_rapid_resets_are_cut(serve_echo):
    with Attack(serve_echo()) as attack:
        block, sent = headers(), 0
        while sent < 60_000:
            burst = b""
            for _ in range(500):
                stream = 2 * sent + 1
                burst += frame(HEADERS, END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
                sent += 1
            if not attack.send(burst):
                break
        attack.goaway()
        assert attack.closed  # of the server's own accord: the client still holds its end open


@pytest.mark.parametrize("kind", ["settings", "priority", "empty data"])
def test_floods_of_frames_that_carry_nothing_are_cut(serve_echo, kind):
    flood = {
        "settings": frame(SETTINGS, 0, 0),
        "priority": frame(PRIORITY, 0, 3, bytes(4) + b"\x10"),
        "empty data": frame(DATA, 0, 1),
    }[kind] * 1000
    with Attack(serve_echo()) as attack:
        attack.send(frame(HEADERS, END_HEADERS, 1, headers("/t/stream")))
        for _ in range(100):
            if not attack.send(flood):
                break
        attack.goaway()
        assert attack.closed


def test_a_ping_flood_is_told_so_as_grpc_clients_expect(serve_echo):
    with Attack(serve_echo()) as attack:
        attack.send(frame(PING, 0, 0, b"12345678") * 10)
        assert attack.goaway() == (ENHANCE_YOUR_CALM, b"too_many_pings")


def test_pings_are_answered_without_end_when_strikes_are_off(serve_echo):
    with Attack(serve_echo(http2_max_ping_strikes=0)) as attack:
        attack.send(frame(PING, 0, 0, b"12345678") * 20)
        acknowledged = (payload for kind, flags, _, payload in attack.frames() if kind == PING and flags == 1)
        assert [next(acknowledged) for _ in range(20)] == [b"12345678"] * 20


def test_a_flood_of_pings_whose_answers_nobody_reads_does_not_pile_up(serve_echo):
    with Attack(serve_echo(http2_max_ping_strikes=0)) as attack:
        attack.socket.settimeout(0.5)
        before = psutil.Process().memory_info().rss
        for _ in range(300):
            if not attack.send(frame(PING, 0, 0, b"12345678") * 1000):
                break
        assert psutil.Process().memory_info().rss - before < 64 << 20


def test_endless_continuations_are_cut(serve_echo):
    with Attack(serve_echo()) as attack:
        attack.send(frame(HEADERS, 0, 1, headers()))
        piece = b"\x00\x03abc\x7f\x00" + b"x" * 127
        sent = 0
        while sent < 5000 and attack.send(frame(CONTINUATION, 0, 1, piece)):
            sent += 1
        attack.goaway()
        assert attack.closed


def test_a_prefix_alone_reserves_little(serve_echo):
    serving = serve_echo(max_buffered_bytes=256 << 20)
    with Attack(serving) as attack:
        for stream in range(1, 201, 2):
            prefix = b"\0" + struct.pack(">I", 60 << 20) + b"x" * 100
            attack.send(frame(HEADERS, END_HEADERS, stream, headers()) + frame(DATA, 0, stream, prefix))
        serving.eventually(lambda: serving.transport.calls_in_flight == 100)
        serving.eventually(lambda: serving.transport.buffered_bytes > 0)
        assert serving.ask(lambda: serving.transport.buffered_bytes) < 32 << 20


def test_one_connection_cannot_fill_more_than_its_cap(serve_echo):
    serving = serve_echo(max_buffered_bytes=16 << 20, max_connection_buffered_bytes=2 << 20)
    with Attack(serving) as attack:
        for stream in (1, 3, 5):
            part = b"\0" + struct.pack(">I", 60 << 20) + bytes(900_000)
            pieces = b"".join(frame(DATA, 0, stream, part[at : at + 16384]) for at in range(0, len(part), 16384))
            attack.send(frame(HEADERS, END_HEADERS, stream, headers()) + pieces)
        status, text = refusal(attack, 5)
        assert (status, "max_connection_buffered_bytes" in text) == (8, True)
        assert serving.ask(lambda: serving.transport.buffered_bytes) <= 2 << 20


def test_all_connections_together_cannot_fill_more_than_the_total(serve_echo):
    serving = serve_echo(max_buffered_bytes=4 << 20, max_connection_buffered_bytes=4 << 20)
    part = b"\0" + struct.pack(">I", 60 << 20) + bytes(900_000)
    pieces = b"".join(frame(DATA, 0, 1, part[at : at + 16384]) for at in range(0, len(part), 16384))
    attacks = [Attack(serving) for _ in range(5)]
    try:
        for attack in attacks:
            attack.send(frame(HEADERS, END_HEADERS, 1, headers()) + pieces)
        status, text = refusal(attacks[-1])
        assert (status, "raise max_buffered_bytes" in text) == (8, True)
        assert serving.ask(lambda: serving.transport.buffered_bytes) <= 4 << 20
    finally:
        for attack in attacks:
            attack.socket.close()


def test_empty_messages_that_nobody_takes_are_held_back(serve_nghttp2):
    async def sleeper(call):
        await asyncio.Event().wait()

    serving = serve_nghttp2({}, {"/t/sleep": sleeper})
    with Attack(serving) as attack:
        attack.send(frame(HEADERS, END_HEADERS, 1, headers("/t/sleep")))
        # each costs the client 5 bytes: the window, of 1 MiB, is to close on them all the same
        for _ in range(80):
            attack.send(frame(DATA, 0, 1, message(b"") * 3000))
        kinds = [kind for kind, *_ in _until(attack, RST_STREAM)]
        assert kinds[-1] == RST_STREAM  # it ignored the window
    serving.eventually(lambda: serving.transport.buffered_bytes == 0)


def test_a_gzip_bomb_is_stopped_at_the_message_limit(serve_echo):
    serving = serve_echo(max_message_bytes=8 << 20)
    bomb = zlib.compressobj(9, wbits=31)
    body = bomb.compress(bytes(256 << 20)) + bomb.flush()
    before = psutil.Process().memory_info().rss
    with Attack(serving) as attack:
        attack.send(request(1, message(body, 1), extra=[(b"grpc-encoding", b"gzip")]))
        status, text = refusal(attack)
        assert (status, "larger than max" in text) == (8, True)
    assert psutil.Process().memory_info().rss - before < 64 << 20


def test_many_bombs_at_once_are_stopped_at_the_cap(serve_echo):
    serving = serve_echo(max_buffered_bytes=16 << 20, max_connection_buffered_bytes=16 << 20)
    bomb = zlib.compressobj(9, wbits=31)
    body = bomb.compress(bytes(64 << 20)) + bomb.flush()
    with Attack(serving) as attack:
        for stream in range(1, 41, 2):
            attack.send(request(stream, message(body, 1), extra=[(b"grpc-encoding", b"gzip")]))
        for _ in range(3):
            assert serving.ask(lambda: serving.transport.buffered_bytes) <= 16 << 20
        answers = sorted(refusal(attack, stream)[0] for stream in (1,))
        assert answers == [8]


@pytest.mark.parametrize(
    ("body", "extra", "status", "text"),
    [
        (message(b"cut short")[:-3], [], 13, "Unable to parse request"),
        (b"\0\0\0", [], 13, "Unable to parse request"),
        (b"", [], 13, "Unable to parse request"),
        (message(b"a", 7), [], 13, "flags 7"),
        (message(b"a", 1), [], 13, "Unable to parse request"),
        (message(b"a", 1), [(b"grpc-encoding", b"identity")], 13, "Unable to parse request"),
        (message(b"a", 1), [(b"grpc-encoding", b"snappy")], 12, "snappy"),
        (message(b"a", 1), [(b"grpc-encoding", b"gzip")], 13, "Unexpected error decompressing data for algorithm gzip"),
        (message(b"\x1f\x8b", 1), [(b"grpc-encoding", b"gzip")], 13, "Unexpected error decompressing data"),
        (b"\0\xff\xff\xff\xff", [], 8, "Received message larger than max (4294967295 vs. 2147483647)"),
    ],
)
def test_a_lying_message_gets_a_status(serve_echo, body, extra, status, text):
    with Attack(serve_echo()) as attack:
        attack.send(request(1, body, extra=extra))
        code, said = refusal(attack)
        assert (code, text in said) == (status, True), said


def test_a_second_message_of_a_unary_call_is_ignored_as_by_the_real_server(serve_echo):
    with Attack(serve_echo()) as attack:
        attack.send(request(1, message(b"first") + message(b"second") + b"\0\0"))
        answer = b"".join(payload for kind, _, _, payload in _until(attack, HEADERS, END_STREAM) if kind == DATA)
        assert answer == message(b"first")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"method": b"GET"}, "405"),
        ({"content_type": b"text/html"}, "415"),
        ({"content_type": b"application/json"}, "415"),
    ],
)
def test_what_is_not_grpc_gets_an_http_status(serve_echo, arguments, status):
    with Attack(serve_echo()) as attack:
        attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, headers(**arguments)))
        assert attack.headers_of(1)[":status"] == status


def test_more_streams_than_allowed_are_refused(serve_echo):
    serving = serve_echo(max_concurrent_streams=5)
    with Attack(serving) as attack:
        for stream in range(1, 21, 2):
            attack.send(request(stream, message(b""), "/t/never"))
        attack.goaway()
        assert attack.closed


def test_replies_that_nobody_takes_stay_below_the_cap(serve_echo):
    serving = serve_echo(max_buffered_bytes=64 << 20, max_connection_buffered_bytes=8 << 20)
    with Attack(serving, settings=struct.pack(">HI", 4, 0)) as attack:  # a window of nothing
        for stream in range(1, 61, 2):
            attack.send(request(stream, message(b"x"), "/t/big"))
        # headers are not held back by windows: those that did not fit are told so
        status, text = None, ""
        for kind, flags, _, payload in attack.frames():
            if kind == HEADERS:
                decoded = dict(attack.decoder.decode(payload))
                if flags & END_STREAM:
                    status, text = decoded["grpc-status"], decoded["grpc-message"]
                    break
        assert (status, "read responses faster" in text) == ("8", True)
        assert serving.ask(lambda: serving.transport.buffered_bytes) <= 8 << 20


def test_a_deadline_frees_an_answer_that_nobody_takes(serve_echo):
    serving = serve_echo()
    with Attack(serving, settings=struct.pack(">HI", 4, 0)) as attack:
        attack.send(request(1, message(b"x"), "/t/big", extra=[(b"grpc-timeout", b"100m")]))
        serving.eventually(lambda: serving.transport.buffered_bytes >= 1_000_000)
        serving.eventually(lambda: serving.transport.buffered_bytes == 0)
        assert RST_STREAM in {kind for kind, *_ in _until(attack, RST_STREAM)}


def test_a_message_of_single_bytes_arrives_whole(serve_echo):
    body = message(b"0123456789" * 3)
    with Attack(serve_echo()) as attack:
        attack.send(frame(HEADERS, END_HEADERS, 1, headers()))
        for at in range(len(body)):
            attack.send(frame(DATA, END_STREAM if at == len(body) - 1 else 0, 1, body[at : at + 1]))
        answer = b"".join(payload for kind, _, _, payload in _until(attack, HEADERS, END_STREAM) if kind == DATA)
        assert answer == body


def test_empty_messages_between_others_keep_their_places(serve_echo):
    body = b"".join(message(b"") + message(b"%d" % k) for k in range(5))
    with Attack(serve_echo()) as attack:
        attack.send(request(1, body, "/t/stream"))
        answer = b"".join(payload for kind, _, _, payload in _until(attack, HEADERS, END_STREAM) if kind == DATA)
        assert answer == body


def test_a_connection_that_has_aged_is_sent_away_after_its_calls(serve_echo):
    with Attack(serve_echo(max_connection_age_ms=50)) as attack:
        code, reason = attack.goaway()
        assert (code, reason) == (0, b"")
        assert attack.closed


def test_an_aged_connection_with_calls_is_cut_after_the_grace(serve_echo):
    serving = serve_echo(max_connection_age_ms=50, max_connection_age_grace_ms=50)
    with Attack(serving) as attack:
        attack.send(request(1, message(b"x"), "/t/never"))
        attack.goaway()
        assert attack.closed


def test_an_idle_connection_is_sent_away(serve_echo):
    with Attack(serve_echo(idle_timeout_ms=50)) as attack:
        assert attack.goaway() == (0, b"")


def test_a_peer_that_answers_no_ping_is_cut(serve_echo):
    serving = serve_echo(keepalive_time_ms=50, keepalive_timeout_ms=50, keepalive_permit_without_calls=True)
    with Attack(serving) as attack:
        kinds = [kind for kind, *_ in attack.frames()]
        assert PING in kinds
        assert attack.closed


def test_a_real_client_survives_being_sent_away(serve_nghttp2):
    serving = serve_nghttp2({"/t/echo": lambda call, body: body}, max_connection_age_ms=50)
    with serving.channel() as channel:
        seen = set()
        while len(seen) < 3:  # three connections one after the other, and no call lost
            assert channel.unary_unary("/t/echo")(b"x", timeout=WAIT_S, wait_for_ready=True) == b"x"
            seen |= {id(one) for one in serving.ask(lambda: list(serving.transport._endpoint.connections))}


def test_a_client_that_half_closes_its_socket_is_gone(serve_nghttp2):
    serving = serve_nghttp2({"/t/never": lambda call, body: PENDING})
    with Attack(serving) as attack:
        attack.send(request(1, message(b"x"), "/t/never"))
        serving.eventually(lambda: serving.transport.calls_in_flight == 1)
        attack.socket.shutdown(socket.SHUT_WR)
        serving.eventually(lambda: serving.transport.calls_in_flight == 0)


def test_compressed_answers_are_flagged_and_named(serve_nghttp2):
    def handler(call, body):
        call.compression = Compression.LOW
        return bytes(5000)

    serving = serve_nghttp2({"/t/small": handler})
    with Attack(serving) as attack:
        accept = [(b"grpc-accept-encoding", b"identity, gzip")]
        attack.send(request(1, message(b""), "/t/small", extra=accept))
        frames = list(_until(attack, HEADERS, END_STREAM))
        first = next(attack.decoder.decode(payload) for kind, _, _, payload in frames if kind == HEADERS)
        body = b"".join(payload for kind, _, _, payload in frames if kind == DATA)
    assert dict(first)["grpc-encoding"] == "gzip"
    assert body[0] == 1
    assert zlib.decompress(body[5:], 31) == bytes(5000)


def test_the_status_of_a_refused_call_reaches_a_client_that_still_sends(serve_nghttp2):
    serving = serve_nghttp2({"/t/echo": lambda call, body: body}, max_message_bytes=1000)
    with serving.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/t/echo")(bytes(50_000_000), timeout=WAIT_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
