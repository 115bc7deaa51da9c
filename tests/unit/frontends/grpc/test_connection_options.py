"""The options about connections, on either transport, as clients that anybody may have meet them."""

import threading
import time

import grpc
import pytest
from tests.unit.frontends.grpc.frames import ACK, PING, frame, message
from tests.unit.frontends.grpc.test_hostile_clients import Attack, request

from atoll.frontends.grpc.transport import PENDING

pytestmark = pytest.mark.slow  # it waits for clients that are silent or ping too often

WAIT_S = 20


class Held:
    """A handler whose calls wait until the test answers them."""

    def __init__(self):
        self.calls = []
        self.arrived = threading.Event()

    def __call__(self, call, body):
        self.calls.append(call)
        self.arrived.set()
        return PENDING


def test_an_aged_connection_is_left_without_losing_a_call(serve):
    peers = []

    def note(call, body):
        peers.append(call.peer)
        return body

    serving = serve({"/t/note": note}, max_connection_age_ms=100)
    deadline = time.monotonic() + WAIT_S
    with serving.channel() as channel:
        ask = channel.unary_unary("/t/note")
        while len(set(peers)) < 3:
            assert ask(b"x", timeout=WAIT_S, wait_for_ready=True) == b"x"
            assert time.monotonic() < deadline


def test_a_call_on_an_aged_connection_has_its_grace_and_no_more(serve):
    held = Held()
    serving = serve({"/t/held": held}, max_connection_age_ms=50, max_connection_age_grace_ms=200)
    with serving.channel() as channel:
        future = channel.unary_unary("/t/held").future(b"", timeout=WAIT_S)
        assert held.arrived.wait(WAIT_S)
        assert future.exception(WAIT_S).code() is grpc.StatusCode.UNAVAILABLE
    serving.eventually(lambda: held.calls[0].cancelled)


def test_without_an_age_a_connection_stays(serve):
    peers = set()

    def note(call, body):
        peers.add(call.peer)
        return body

    serving = serve({"/t/note": note})
    with serving.channel() as channel:
        for _ in range(20):
            assert channel.unary_unary("/t/note")(b"x", timeout=WAIT_S) == b"x"
    assert len(peers) == 1


EAGER = {"grpc.keepalive_time_ms": 50, "grpc.keepalive_permit_without_calls": 1, "grpc.http2.max_pings_without_data": 0}


def test_a_client_that_pings_too_often_is_sent_away(serve):
    held = Held()
    serving = serve({"/t/held": held})
    with serving.channel(**EAGER) as channel:
        future = channel.unary_unary("/t/held").future(b"", timeout=WAIT_S)
        assert held.arrived.wait(WAIT_S)
        failure = future.exception(WAIT_S)
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert "too_many_pings" in failure.details() or "Too many pings" in failure.details()
    serving.eventually(lambda: held.calls[0].cancelled)


@pytest.mark.parametrize(
    "lenient",
    [
        {"http2_min_recv_ping_interval_without_data_ms": 1},
        {"http2_max_ping_strikes": 0},
    ],
)
def test_a_client_may_ping_as_often_as_the_options_let_it(serve, lenient):
    held = Held()
    serving = serve({"/t/held": held}, **lenient)
    with serving.channel(**EAGER) as channel:
        future = channel.unary_unary("/t/held").future(b"", timeout=WAIT_S)
        assert held.arrived.wait(WAIT_S)
        time.sleep(0.6)  # a dozen pings; each of the first three would do
        assert not future.done()
        serving.ask(lambda: held.calls[0].reply(b"late"))
        assert future.result(WAIT_S) == b"late"


def test_a_peer_that_falls_silent_is_cut_and_its_call_cancelled(serve_nghttp2):
    held = Held()
    serving = serve_nghttp2({"/t/held": held}, keepalive_time_ms=100, keepalive_timeout_ms=1000)
    with Attack(serving) as attack:
        attack.send(request(1, message(b"x"), "/t/held"))
        pings = 0
        for kind, flags, _, payload in attack.frames():
            if kind == PING and not flags & ACK:
                pings += 1
                if pings == 1:
                    attack.send(frame(PING, ACK, 0, payload))
        assert attack.closed
        assert pings > 1
    serving.eventually(lambda: held.calls[0].cancelled)


def test_a_peer_that_answers_pings_stays(serve):
    held = Held()
    serving = serve({"/t/held": held}, keepalive_time_ms=50, keepalive_timeout_ms=2000)
    with serving.channel() as channel:
        future = channel.unary_unary("/t/held").future(b"", timeout=WAIT_S)
        assert held.arrived.wait(WAIT_S)
        time.sleep(0.4)
        serving.ask(lambda: held.calls[0].reply(b"late"))
        assert future.result(WAIT_S) == b"late"


def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(serve):
    serving = serve({"/t/echo": lambda call, body: body}, max_message_bytes=1000)
    with serving.channel() as channel:
        echo = channel.unary_unary("/t/echo")
        with pytest.raises(grpc.RpcError) as refused:
            echo(bytes(1001), timeout=WAIT_S)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max (1001 vs. 1000)" in refused.value.details()
        assert echo(bytes(1000), timeout=WAIT_S) == bytes(1000)


def test_calls_beyond_the_limit_of_a_connection_wait(serve):
    held = Held()
    serving = serve({"/t/held": held}, max_concurrent_streams=2)
    with serving.channel() as channel:
        futures = [channel.unary_unary("/t/held").future(b"", timeout=WAIT_S) for _ in range(3)]
        serving.eventually(lambda: len(held.calls) == 2)
        serving.ask(lambda: held.calls[0].reply(b"1"))
        serving.eventually(lambda: len(held.calls) == 3)
        for call in held.calls[1:]:
            serving.ask(lambda call=call: call.reply(b"2"))
        assert sorted(one.result(WAIT_S) for one in futures) == [b"1", b"2", b"2"]
