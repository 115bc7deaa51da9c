"""The timers of a connection as functions of the time: gRPC core's rules with Triton's options."""

from dataclasses import replace

import pytest

from atoll.frontends.grpc.nghttp2.timers import Action, ConnectionClock, Facts, PingStrikes
from atoll.frontends.grpc.transport import TransportOptions

MS = 1_000_000
HOUR = 3_600_000 * MS
QUIET = Facts(settled=True, last_received_ns=0, idle_since_ns=0, calls=0, frames_sent=0)
NO_IDLE = TransportOptions(idle_timeout_ms=None)


def drive(clock, facts, until_ns, answer=lambda action, now, facts: facts):
    """Every action with its time, the clock being asked exactly when it wants to be."""
    done, now = [], 0
    for _ in range(10_000):
        action, again = clock.next(now, facts)
        if action is None:
            if again > until_ns:
                return done
            assert again > now
            now = again
            continue
        done.append((now, action))
        if action is Action.ABORT:
            return done
        if action is Action.DRAIN:
            clock.drain(now)
        facts = answer(action, now, facts)
    raise AssertionError("the clock does not come to rest")


def test_a_client_has_so_long_for_its_preface():
    clock = ConnectionClock(TransportOptions(handshake_timeout_ms=20), 0)
    waiting = replace(QUIET, settled=False)
    assert clock.next(19 * MS, waiting) == (None, 20 * MS)
    assert clock.next(20 * MS, waiting)[0] is Action.ABORT


def test_without_calls_no_keepalive_ping_is_sent_by_default():
    assert drive(ConnectionClock(NO_IDLE, 0), QUIET, 100 * HOUR) == []


def test_a_ping_that_is_not_answered_cuts_the_connection():
    clock = ConnectionClock(NO_IDLE, 0)
    busy = replace(QUIET, calls=1)
    assert drive(clock, busy, 100 * HOUR) == [(2 * HOUR, Action.PING), (2 * HOUR + 20_000 * MS, Action.ABORT)]


def test_answered_pings_go_on_but_not_beyond_the_limit_without_data():
    def pong(action, now, facts):
        return replace(facts, last_received_ns=now + 1)

    options = replace(NO_IDLE, keepalive_time_ms=10, keepalive_permit_without_calls=True)
    assert [action for _, action in drive(ConnectionClock(options, 0), QUIET, 200 * MS, pong)] == [Action.PING] * 2
    endless = replace(options, http2_max_pings_without_data=0)
    pings = drive(ConnectionClock(endless, 0), QUIET, 200 * MS, pong)
    assert len(pings) >= 18


def test_data_in_between_allows_more_pings():
    def pong_and_data(action, now, facts):
        return replace(facts, last_received_ns=now + 1, frames_sent=facts.frames_sent + 1)

    options = replace(NO_IDLE, keepalive_time_ms=10, keepalive_permit_without_calls=True)
    assert len(drive(ConnectionClock(options, 0), QUIET, 200 * MS, pong_and_data)) >= 18


def test_what_is_received_puts_the_ping_off():
    clock = ConnectionClock(replace(NO_IDLE, keepalive_time_ms=10), 0)
    busy = replace(QUIET, calls=1, last_received_ns=8 * MS)
    assert clock.next(10 * MS, busy) == (None, 18 * MS)


def test_an_idle_connection_is_drained_once():
    clock = ConnectionClock(TransportOptions(idle_timeout_ms=50), 0)
    assert drive(clock, QUIET, HOUR) == [(50 * MS, Action.DRAIN), (1050 * MS, Action.REFUSE)]


def test_a_connection_with_calls_is_not_idle():
    clock = ConnectionClock(TransportOptions(idle_timeout_ms=50), 0)
    assert drive(clock, replace(QUIET, calls=1), 5_000 * MS) == []


@pytest.mark.parametrize(("jitter", "age"), [(-1.0, 90), (0.0, 100), (1.0, 110)])
def test_age_and_grace_end_a_connection_with_calls(jitter, age):
    options = replace(NO_IDLE, max_connection_age_ms=100, max_connection_age_grace_ms=5_000)
    assert drive(ConnectionClock(options, 0, jitter), replace(QUIET, calls=1), HOUR) == [
        (age * MS, Action.DRAIN),
        ((age + 1_000) * MS, Action.REFUSE),
        ((age + 5_000) * MS, Action.ABORT),
    ]


def test_without_a_grace_the_calls_may_finish():
    options = replace(NO_IDLE, max_connection_age_ms=100)
    actions = [action for _, action in drive(ConnectionClock(options, 0), replace(QUIET, calls=1), HOUR)]
    assert actions == [Action.DRAIN, Action.REFUSE]


def test_the_last_word_is_said_as_soon_as_the_notice_is_acknowledged():
    clock = ConnectionClock(NO_IDLE, 0)
    assert clock.drain(10 * MS)
    assert not clock.drain(11 * MS)
    assert clock.next(12 * MS, QUIET) == (None, 1010 * MS)
    clock.notice_acknowledged(13 * MS)
    assert clock.next(13 * MS, QUIET)[0] is Action.REFUSE


def test_a_closed_connection_does_not_linger():
    clock = ConnectionClock(NO_IDLE, 0)
    clock.closing(0)
    assert drive(clock, QUIET, HOUR) == [(5_000 * MS, Action.ABORT)]


def test_the_third_bad_ping_is_one_too_many():
    strikes = PingStrikes(TransportOptions())
    assert [strikes.too_many(k * MS, 1, 0) for k in range(4)] == [False, False, False, True]


def test_pings_at_the_permitted_interval_are_no_strikes():
    strikes = PingStrikes(TransportOptions(http2_min_recv_ping_interval_without_data_ms=10))
    assert not any(strikes.too_many(k * 10 * MS, 1, 0) for k in range(100))


def test_without_calls_two_hours_lie_between_pings_unless_permitted():
    options = TransportOptions(http2_min_recv_ping_interval_without_data_ms=10)
    strikes = PingStrikes(options)
    assert [strikes.too_many(k * 10 * MS, 0, 0) for k in range(4)] == [False, False, False, True]
    permitted = PingStrikes(replace(options, keepalive_permit_without_calls=True))
    assert not any(permitted.too_many(k * 10 * MS, 0, 0) for k in range(100))
    patient = PingStrikes(options)
    assert not any(patient.too_many(k * 2 * HOUR, 0, 0) for k in range(100))


def test_traffic_clears_the_strikes_and_zero_allows_any_number():
    strikes = PingStrikes(TransportOptions())
    assert not any(strikes.too_many(k * MS, 1, k // 2) for k in range(100))
    tolerant = PingStrikes(TransportOptions(http2_max_ping_strikes=0))
    assert not any(tolerant.too_many(k * MS, 1, 0) for k in range(100))
