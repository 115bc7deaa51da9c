"""What one client may make an HTTP port spend: sizes, counts and times, each with its default."""

from dataclasses import dataclass, field

from atoll.frontends.buffering import default_buffer_bytes

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Sizes in bytes, times in seconds.

    `max_buffered_size` is for the bodies of all connections together, from when more of one is awaited than came with
    its head until its answer.

    `header_timeout_s` runs from a request's first byte to the end of its headers, `body_timeout_s` from one piece of
    the body to the next, `idle_timeout_s` between requests, `write_timeout_s` while the client takes nothing of an
    answer, `linger_timeout_s` while a refused request is read to its end, so that the client sees the refusal.
    """

    max_body_size: int = 64 * MIB
    max_buffered_size: int = field(default_factory=default_buffer_bytes)
    max_head_size: int = 64 * KIB
    max_target_size: int = 8 * KIB
    max_header_count: int = 128
    max_pipelined_size: int = 64 * KIB
    max_connections: int = 16 * KIB
    header_timeout_s: float = 30.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    write_timeout_s: float = 60.0
    linger_timeout_s: float = 5.0
