"""How much a client may make the nghttp2 transport hold."""

from dataclasses import dataclass

from atoll.frontends.grpc.transport import TransportOptions
from atoll.frontends.listening.buffering import default_buffer_bytes

STREAM_WINDOW_BYTES = 1 << 20
CONNECTION_WINDOW_BYTES = 16 << 20
SEND_HIGH_WATER_BYTES = 1 << 20
"""`send` on a stream waits above it."""

CONTROL_BURST = 10_000
CONTROL_PER_SECOND = 1_000
"""Frames that cost work and carry nothing (resets, settings, priorities, empty data). nghttp2's own bound on
resets, 33 a second, would cut off a gateway whose callers time out; rapid resets come by the ten thousand."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers that the extension works with, all in bytes but `concurrent_streams`."""

    message: int
    metadata: int
    concurrent_streams: int
    buffered: int
    connection_buffered: int


def limits_of(options: TransportOptions, memory_bytes: int | None = None) -> Limits:
    """The options with their defaults filled in from the machine's memory."""
    buffered = options.max_buffered_bytes
    if buffered is None:
        buffered = default_buffer_bytes(memory_bytes)
    per_connection = options.max_connection_buffered_bytes
    return Limits(
        message=options.max_message_bytes,
        metadata=options.max_metadata_bytes,
        concurrent_streams=options.max_concurrent_streams,
        buffered=buffered,
        connection_buffered=buffered // 2 if per_connection is None else min(per_connection, buffered),
    )
