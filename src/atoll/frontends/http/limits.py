"""What one client may make an HTTP port spend: sizes, counts and times, each with its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from atoll.frontends.listening.buffering import default_buffer_bytes

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Sizes in bytes, times in seconds.

    `max_buffered_size` is for the bodies of all connections together, from when more of one is awaited than came with
    its head until its answer.

    `handshake_timeout_s` is for TLS. `header_timeout_s` runs from a request's first byte to the end of its headers,
    `body_timeout_s` from one piece of the body to the next, `idle_timeout_s` between requests, `write_timeout_s` while
    the client takes nothing of an answer, `linger_timeout_s` while a refused request is read to its end, so that the
    client sees the refusal.
    """

    max_body_size: int = 64 * MIB
    max_buffered_size: int = field(default_factory=default_buffer_bytes)
    max_head_size: int = 64 * KIB
    max_target_size: int = 8 * KIB
    max_header_count: int = 128
    max_pipelined_size: int = 64 * KIB
    max_connections: int = 16 * KIB
    handshake_timeout_s: float = 20.0
    header_timeout_s: float = 30.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    write_timeout_s: float = 60.0
    linger_timeout_s: float = 5.0

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name."""
        return cls(
            max_body_size=values["http_max_input_size"],
            max_connections=values["http_max_connections"],
            header_timeout_s=values["http_header_timeout_secs"],
            body_timeout_s=values["http_body_timeout_secs"],
            idle_timeout_s=values["http_idle_timeout_secs"],
        )

    def shared_by(self, loops: int) -> "ConnectionLimits":
        """What each of so many event loops allows, so that all of them together keep to this."""
        if loops == 1:
            return self
        return replace(
            self,
            max_buffered_size=max(self.max_body_size, self.max_buffered_size // loops),
            max_connections=-(-self.max_connections // loops),
        )
