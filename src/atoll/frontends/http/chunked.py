"""The chunked transfer coding of a request's body, decoded (RFC 9112, section 7.1)."""

import re
from enum import Enum

MAX_LINE = 256  # a chunk's size with its extensions
MAX_TRAILERS = 8 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\x00]*)?")


class Progress(Enum):
    """How far the body has come."""

    MORE = "more"  # everything given was taken, and the body goes on
    DONE = "done"  # the body is whole; what follows belongs to the next request
    MALFORMED = "malformed"
    TOO_LARGE = "too large"


class ChunkedBody:
    """Collects a body of at most `limit` bytes. `body` is the data so far."""

    __slots__ = ("_line", "_missing", "_part", "_trailers", "body", "limit")

    def __init__(self, limit: int):
        self.limit = limit
        self.body = bytearray()
        self._line = b""  # the beginning of a line that is not whole yet
        self._missing = 0  # bytes of the present chunk that have not come
        self._part = "size"  # what is expected: "size", "data", "end" (of a chunk's data), "trailer"
        self._trailers = 0

    def feed(self, data: bytes | bytearray, position: int) -> tuple[Progress, int]:
        """Take `data` from `position` on. Returns the progress and the position after what was taken."""
        end = len(data)
        while position < end:
            if self._part == "data":
                taken = min(self._missing, end - position)
                self.body += memoryview(data)[position : position + taken]
                position += taken
                self._missing -= taken
                if not self._missing:
                    self._part = "end"
                continue
            newline = data.find(b"\n", position, position + MAX_LINE)
            if newline < 0:
                self._line += data[position : position + MAX_LINE]
                return (Progress.MORE if len(self._line) < MAX_LINE else Progress.MALFORMED), end
            line = self._line + data[position : newline + 1]
            self._line = b""
            position = newline + 1
            if len(line) > MAX_LINE or not line.endswith(b"\r\n"):
                return Progress.MALFORMED, position
            progress = self._take_line(line[:-2])
            if progress is not Progress.MORE:
                return progress, position
        return Progress.MORE, end

    def _take_line(self, line: bytes) -> Progress:
        if self._part == "end":
            self._part = "size"
            return Progress.MALFORMED if line else Progress.MORE
        if self._part == "trailer":
            self._trailers += len(line) + 2
            if self._trailers > MAX_TRAILERS:
                return Progress.MALFORMED
            return Progress.MORE if line else Progress.DONE
        size = _SIZE.fullmatch(line)
        if size is None:
            return Progress.MALFORMED
        self._missing = int(size[1], 16)
        if len(self.body) + self._missing > self.limit:
            return Progress.TOO_LARGE
        self._part = "data" if self._missing else "trailer"
        return Progress.MORE
