"""HTTP/2 frames and gRPC messages as raw clients write them, and what they read."""

import struct
from collections.abc import Iterable, Iterator

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS, PADDED = 1, 1, 4, 8

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream and payload."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def greeting(settings: bytes = b"") -> bytes:
    """The beginning of a connection; the acknowledgement makes the server's larger stream window count."""
    return PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, ACK, 0)


def headers(
    path: str = "/t/echo",
    extra: Iterable[tuple[bytes, bytes]] = (),
    method: bytes = b"POST",
    content_type: bytes = b"application/grpc",
) -> bytes:
    """The block of a call's header frame."""
    named = [(b":method", method), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"x")]
    block: bytes = Encoder().encode([*named, (b"te", b"trailers"), (b"content-type", content_type), *extra])
    return block


def message(body: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + struct.pack(">I", len(body)) + body


class FrameReader:
    """Puts frames together from what a socket gives."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, more: bytes) -> None:
        self._waiting += more

    def frames(self) -> Iterator[Frame]:
        """Those that are whole; each is taken before the next is looked for."""
        while len(self._waiting) >= 9 + (size := int.from_bytes(self._waiting[:3], "big")):
            head, payload = self._waiting[:9], self._waiting[9 : 9 + size]
            self._waiting = self._waiting[9 + size :]
            yield head[3], head[4], int.from_bytes(head[5:9], "big"), payload
