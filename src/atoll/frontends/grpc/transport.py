"""What a gRPC transport is: it moves framed messages and statuses; which procedures exist is the servicer's business.

Everything here runs on the thread of the event loop that `Transport.start` was awaited on, and every method of a
call is to be called there. Handlers are found by full path (`/package.Service/Method`); a path that no table has is
answered UNIMPLEMENTED.

Ownership. The `bytes` of an inbound message belong to the handler. Outbound buffers must not change until the call is
over: the transport may hand them to the socket without copying them. A call may be kept as long as one likes; what is
sent on it after it has ended goes nowhere, silently, because a client may go away at any moment.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, Protocol

from atoll.frontends.listening.options import SOCKET_MODE
from atoll.frontends.listening.tls import TlsFiles

__all__ = [
    "PENDING",
    "PROTOCOLS",
    "Call",
    "Compression",
    "GrpcError",
    "GrpcStatus",
    "Message",
    "Metadata",
    "Pending",
    "StreamCall",
    "StreamHandler",
    "TlsFiles",
    "Transport",
    "TransportOptions",
    "UnaryHandler",
    "size_of",
]


PROTOCOLS = ("h2",)
"""What is spoken over TLS."""


class GrpcStatus(IntEnum):
    """The status codes of gRPC (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class GrpcError(Exception):
    """Raised by a handler to end its call with this status; every other exception ends it as UNKNOWN and is logged."""

    def __init__(self, code: GrpcStatus, message: str = "", trailing: "Metadata" = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.trailing = trailing  # what the handler is to give to `set_trailing_metadata`


class Compression(IntEnum):
    """How hard a response is compressed: gRPC's levels, which pick among the algorithms that the client accepts."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Pending(Enum):
    """The type of PENDING."""

    PENDING = "the call is answered later"


PENDING: Final = Pending.PENDING
"""Returned by a unary handler that will itself call `call.reply` or `call.fail` later: costs no future and no task."""

Buffer = bytes | bytearray | memoryview
Message = bytes | Sequence[Buffer]
"""One outbound message: its bytes, or contiguous buffers that are its bytes one after another, sent without being
joined where the transport can."""

Metadata = Sequence[tuple[str, str | bytes]]
"""Names are lower case; a name that ends in `-bin` has bytes for a value, any other printable ASCII."""


class Call(Protocol):
    """One call, from its request headers to its status."""

    compression: Compression
    """For the responses that are sent from now on; set it before the first one. NONE unless set."""

    @property
    def method(self) -> str:
        """The full path, `/package.Service/Method`."""

    @property
    def metadata(self) -> Metadata:
        """What the client sent beside the protocol's own headers; decoded when read."""

    @property
    def peer(self) -> str:
        """`ipv4:127.0.0.1:50123`, `ipv6:[::1]:50123`, `unix:`, or `unknown`."""

    @property
    def deadline_ns(self) -> int | None:
        """When the client gives up, on time.monotonic_ns()'s clock; None: never."""

    @property
    def cancelled(self) -> bool:
        """The client reset the call or went away, or the deadline has passed: nobody reads the answer."""

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Calls back once when the call becomes `cancelled`; at once if it already is; never after it was answered."""

    def set_initial_metadata(self, items: Metadata) -> None:
        """Sent before the first response; ValueError if that has already gone, or a name or value cannot be sent."""

    def set_trailing_metadata(self, items: Metadata) -> None:
        """Sent with the status; ValueError if a name or value cannot be sent."""

    def reply(self, message: Message) -> None:
        """Answers a PENDING unary call. Exactly one of reply and fail is called."""

    def fail(self, code: GrpcStatus, text: str = "") -> None:
        """Ends a PENDING unary call with a status that is not OK."""


class StreamCall(Call, Protocol):
    """A call with any number of messages in either direction: `async for message in call` reads the client's.

    The iteration ends when the client has sent its last message. If the call is cancelled meanwhile, its handler is
    cancelled, and whatever else awaits on the call. (On grpcio the iteration may end first, and the cancellation
    follow.)
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    @property
    def buffered_bytes(self) -> int:
        """Bytes written and not yet given to the socket: the client's window or the network holds them back."""

    def write(self, message: Message) -> None:
        """Queues one response without waiting. Who writes faster than the client reads runs into the cap on buffered
        bytes, and the call then ends as RESOURCE_EXHAUSTED: look at `buffered_bytes`, or use `send`."""

    async def send(self, message: Message) -> None:
        """Queues one response and waits while too much is buffered."""


UnaryHandler = Callable[[Call, bytes], Message | Awaitable[Message] | Pending]
StreamHandler = Callable[[StreamCall], Awaitable[None]]
"""Returning means status OK, once all that was written has been sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """Limits and timers. What Triton has too (`tritonserver --help`) has its name, less `grpc-`, and its default."""

    max_message_bytes: int = 2**31 - 1
    """Of one inbound message, also after decompression."""
    max_metadata_bytes: int = 16 * 1024
    """Of one call's request headers, counted as HTTP/2 does (32 bytes on top of each)."""
    max_concurrent_streams: int = 1024
    """Calls in flight per connection."""
    max_connections: int = 16 * 1024
    """Who comes beyond is disconnected."""
    max_buffered_bytes: int | None = None
    """Over all connections: messages half received, requests of unary calls until they are answered, stream
    messages not yet taken, and responses not yet sent. None: a quarter of the machine's memory."""
    max_connection_buffered_bytes: int | None = None
    """The same for one connection; None: half of `max_buffered_bytes`."""

    keepalive_time_ms: int = 7_200_000
    keepalive_timeout_ms: int = 20_000
    keepalive_permit_without_calls: bool = False
    http2_max_pings_without_data: int = 2
    http2_min_recv_ping_interval_without_data_ms: int = 300_000
    http2_max_ping_strikes: int = 2
    max_connection_age_ms: int | None = None
    max_connection_age_grace_ms: int | None = None
    idle_timeout_ms: int | None = 3_600_000
    """A connection that has had no call for so long is told to go; clients reconnect by themselves."""
    handshake_timeout_ms: int = 20_000
    """For TLS, and then for the client's HTTP/2 preface."""

    tls: TlsFiles | None = None
    reuse_port: bool = False
    socket_mode: int = SOCKET_MODE
    """Permissions of a Unix socket's file."""


class Transport(Protocol):
    """One listening port on one event loop. A day: made, `start`, calls, `drain`, `stop`."""

    def __init__(
        self,
        unary: Mapping[str, UnaryHandler],
        stream: Mapping[str, StreamHandler],
        options: TransportOptions,
    ) -> None: ...

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port (the chosen one for port 0; 0 for a Unix socket). OSError if it cannot.

        `host`: see listening/address.py."""

    async def drain(self, timeout_s: float) -> None:
        """Takes no new connection or call (GOAWAY), lets the calls in flight finish for at most so long, then stops."""

    async def stop(self) -> None:
        """Ends every call and connection now. May be called at any time and more than once."""

    @property
    def connections(self) -> int | None:
        """Open connections; None where the transport cannot know."""

    @property
    def calls_in_flight(self) -> int: ...


def size_of(message: Message) -> int:
    """Bytes of a message, whole or in parts."""
    return len(message) if isinstance(message, (bytes, bytearray, memoryview)) else sum(map(len, message))
