"""When a connection is to be pinged, sent away or cut: decided here from the time, waited for in supervision.py.

The rules and names are gRPC core's (grpc/doc/keepalive.md, gRFC A8 and A9).
"""

from dataclasses import dataclass
from enum import Enum

from atoll.frontends.grpc.transport import TransportOptions

_MS = 1_000_000
_IDLE_PING_INTERVAL_NS = (
    2 * 3_600 * 1_000 * _MS
)  # what gRPC core allows a client without calls, after RFC 1122's TCP keep-alive
_NOTICE_NS = 1_000 * _MS  # for the ping behind the first GOAWAY of a graceful shutdown to come back
_LINGER_NS = 5_000 * _MS  # for the peer to read what was written before the close


class Action(Enum):
    """What the connection is to do now."""

    PING = "send a ping"
    DRAIN = "say that no more calls are taken"
    REFUSE = "say which call was the last"
    ABORT = "cut the connection"


@dataclass(frozen=True, slots=True)
class Facts:
    """What has happened on the connection so far."""

    settled: bool
    """The client's HTTP/2 preface and settings have come."""
    last_received_ns: int
    idle_since_ns: int
    calls: int
    frames_sent: int
    """Header, data and window update frames: traffic that earns a client its pings, and us ours."""


class ConnectionClock:
    """The timers of one connection as one function of the time."""

    def __init__(self, options: TransportOptions, now_ns: int, age_jitter: float = 0.0) -> None:
        """`age_jitter` in [-1, 1] moves the maximum age by up to a tenth, so that clients do not return all at once."""
        self._options = options
        self._handshake_by_ns = now_ns + options.handshake_timeout_ms * _MS
        age = options.max_connection_age_ms
        self._aged_at_ns = None if age is None else now_ns + int(age * _MS * (1 + 0.1 * age_jitter))
        self._ping_sent_ns: int | None = None
        self._last_ping_ns = 0
        self._pings_without_data = 0
        self._frames_at_ping = 0
        self._refuse_at_ns: int | None = None
        self._draining = False
        self._abort_at_ns: int | None = None

    def drain(self, now_ns: int) -> bool:
        """The connection says GOAWAY for the first time; false if it already has."""
        if self._draining:
            return False
        self._draining = True
        self._refuse_at_ns = now_ns + _NOTICE_NS
        return True

    def notice_acknowledged(self, now_ns: int) -> None:
        if self._refuse_at_ns is not None:
            self._refuse_at_ns = now_ns

    def closing(self, now_ns: int) -> None:
        """The connection waits only for its last bytes to be read."""
        deadline = now_ns + _LINGER_NS
        self._abort_at_ns = deadline if self._abort_at_ns is None else min(self._abort_at_ns, deadline)

    def next(self, now_ns: int, facts: Facts) -> tuple[Action | None, int]:
        """One thing to do now (then ask again), or None; and when to ask again if nothing happens until then."""
        if self._abort_at_ns is not None and now_ns >= self._abort_at_ns:
            return Action.ABORT, now_ns
        if not facts.settled:
            return (Action.ABORT, now_ns) if now_ns >= self._handshake_by_ns else (None, self._handshake_by_ns)
        if self._refuse_at_ns is not None and now_ns >= self._refuse_at_ns:
            self._refuse_at_ns = None
            return Action.REFUSE, now_ns
        if self._aged_at_ns is not None and now_ns >= self._aged_at_ns:
            self._aged_at_ns = None
            grace = self._options.max_connection_age_grace_ms
            if grace is not None:
                self._abort_at_ns = now_ns + grace * _MS
            if not self._draining:
                return Action.DRAIN, now_ns
        idle = self._options.idle_timeout_ms
        idle_at_ns = None
        if idle is not None and not self._draining:
            # nobody tells the clock that a call has ended: while there is one, it looks again after the same time
            idle_at_ns = (now_ns if facts.calls else facts.idle_since_ns) + idle * _MS
            if now_ns >= idle_at_ns:
                return Action.DRAIN, now_ns
        action, keepalive_at_ns = self._keepalive(now_ns, facts)
        if action is not None:
            return action, now_ns
        others = (self._abort_at_ns, self._refuse_at_ns, self._aged_at_ns, idle_at_ns)
        return None, min([keepalive_at_ns, *(at for at in others if at is not None)])

    def _keepalive(self, now_ns: int, facts: Facts) -> tuple[Action | None, int]:
        options = self._options
        if self._ping_sent_ns is not None:
            if facts.last_received_ns <= self._ping_sent_ns:
                lost_at_ns = self._ping_sent_ns + options.keepalive_timeout_ms * _MS
                return (Action.ABORT, now_ns) if now_ns >= lost_at_ns else (None, lost_at_ns)
            self._ping_sent_ns = None
        quiet_since_ns = max(facts.last_received_ns, self._last_ping_ns)
        ping_at_ns = quiet_since_ns + options.keepalive_time_ms * _MS
        if now_ns < ping_at_ns:
            return None, ping_at_ns
        if facts.frames_sent != self._frames_at_ping:
            self._frames_at_ping = facts.frames_sent
            self._pings_without_data = 0
        allowed = options.http2_max_pings_without_data
        self._last_ping_ns = now_ns  # also for a ping that is not sent: the next time to ask is a whole period away
        if not (facts.calls or options.keepalive_permit_without_calls) or (
            allowed and self._pings_without_data >= allowed
        ):
            return None, now_ns + options.keepalive_time_ms * _MS
        self._pings_without_data += 1
        self._ping_sent_ns = now_ns
        return Action.PING, now_ns


class PingStrikes:
    """Judges the pings that a client sends."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._strikes = 0
        self._last_ping_ns: int | None = None
        self._frames = 0

    def too_many(self, now_ns: int, calls: int, frames_sent: int) -> bool:
        """Counts a received ping; true: the connection is to be closed for it."""
        if frames_sent != self._frames:  # clears a client's record: its calls make traffic
            self._frames = frames_sent
            self._strikes = 0
            self._last_ping_ns = None
        idle = not calls and not self._options.keepalive_permit_without_calls
        interval_ns = (
            _IDLE_PING_INTERVAL_NS if idle else self._options.http2_min_recv_ping_interval_without_data_ms * _MS
        )
        last_ns, self._last_ping_ns = self._last_ping_ns, now_ns
        if last_ns is None or now_ns >= last_ns + interval_ns:
            return False
        self._strikes += 1
        allowed = self._options.http2_max_ping_strikes
        return bool(allowed) and self._strikes > allowed
