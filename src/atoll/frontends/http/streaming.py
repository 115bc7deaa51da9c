"""The body of an answer whose length nobody knows when it begins: chunks in HTTP/1.1, all until the end in HTTP/1.0."""

from asyncio import WriteTransport

from atoll.frontends.http.answer import render_stream_head
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.limits import KIB
from atoll.tensor import Buffer

JOINED_SIZE = 64 * KIB  # up to here one copy costs less than several buffers in a system call
_LAST_CHUNK = b"0\r\n\r\n"


class StreamedBody:
    """Writes one such answer. `keep_alive`: whether the connection can carry another one after it."""

    __slots__ = ("_bodiless", "_chunked", "_transport", "keep_alive")

    def __init__(self, transport: WriteTransport, head: RequestHead, keep_alive: bool):
        self._transport = transport
        self._chunked = head.minor_version == 1
        self._bodiless = head.method == "HEAD"
        self.keep_alive = keep_alive and self._chunked

    def begin(self, status: int, headers: bytes) -> None:
        self._transport.write(render_stream_head(status, headers, self._chunked, self.keep_alive))

    def write(self, data: Buffer) -> None:
        size = len(data)
        if self._bodiless or not size:  # an empty chunk would be the end
            return
        if not self._chunked:
            self._transport.write(data)
        elif size <= JOINED_SIZE:
            self._transport.write(b"".join((b"%x\r\n" % size, data, b"\r\n")))
        else:
            self._transport.writelines([b"%x\r\n" % size, data, b"\r\n"])

    def end(self) -> None:
        if self._chunked and not self._bodiless:
            self._transport.write(_LAST_CHUNK)
