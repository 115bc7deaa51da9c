"""Compressed messages: bounded when they come in, in order both ways, and off the loop's thread above a size."""

import asyncio
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from atoll.frontends.grpc.transport import Buffer, Compression, GrpcStatus

INLINE_BYTES = 64 << 10
"""Up to here the work costs the loop less than the way to a thread and back would matter."""
_SLICE_BYTES = 1 << 20
_PIECE_BYTES = 4 << 20
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # zlib's: 15, plus 16 for a gzip header
_BY_STRENGTH = (b"gzip", b"deflate")

_Done = asyncio.Future[bytes]


class CompressedCall(Protocol):
    """What is done to a call; the extension's `Call` has it."""

    def charge(self, size: int) -> bool:
        """Counts buffered bytes; false, and the call has failed, if a cap is reached."""

    def refund(self, size: int) -> None: ...

    def inflated(self, message: bytes) -> None: ...

    def push(self, parts: Sequence[Buffer], compressed: bool) -> None: ...

    def finish(self, code: int, text: str) -> None: ...


def algorithm_for(level: Compression, accepted: bytes) -> bytes | None:
    """The algorithm that gRPC core picks for a level among those that the client's grpc-accept-encoding names."""
    names = {name.strip() for name in accepted.split(b",")}
    known = [name for name in _BY_STRENGTH if name in names]
    if level is Compression.NONE or not known:
        return None
    return {Compression.LOW: known[0], Compression.MEDIUM: known[len(known) // 2]}.get(level, known[-1])


def can_inflate(encoding: bytes) -> bool:
    return encoding in _WINDOW_BITS


class Inflater:
    """Decompresses the messages of one call and hands them on in the order in which they came."""

    def __init__(self, call: CompressedCall, encoding: bytes, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._window_bits = _WINDOW_BITS[encoding]
        self._unreadable = f"Unexpected error decompressing data for algorithm {encoding.decode()}"
        self._limit = limit
        self._loop = loop
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._work: _Inflation | None = None
        self._open = True

    @property
    def busy(self) -> bool:
        return self._work is not None

    def add(self, message: bytes, compressed: bool) -> None:
        """Takes a message over together with its charge."""
        self._waiting.append((message, compressed))
        if self._work is None:
            self._advance()

    def close(self) -> None:
        self._open = False
        self._waiting.clear()

    def _advance(self) -> None:
        while self._open and self._waiting:
            message, compressed = self._waiting.popleft()
            if not compressed:
                self._call.refund(len(message))
                self._call.inflated(message)
                continue
            work = _Inflation(message, self._window_bits, self._limit)
            if len(message) > INLINE_BYTES:
                self._send_off(work)
                return
            try:
                piece = work.step(4 * INLINE_BYTES)
            except zlib.error as broken:
                self._fail(GrpcStatus.INTERNAL, f"{self._unreadable}: {broken}")
                return
            if not self._take(work, piece):
                return
            if not work.complete:
                self._send_off(work)
                return
            self._deliver(work)

    def _send_off(self, work: "_Inflation") -> None:
        self._work = work
        self._loop.run_in_executor(None, work.step, _PIECE_BYTES).add_done_callback(self._stepped)

    def _stepped(self, done: _Done) -> None:
        work, self._work = self._work, None
        assert work is not None, "a step without a message. This is a bug"
        broken = None if done.cancelled() else done.exception()  # to be asked for, also when nobody wants the message
        if not self._open or done.cancelled():
            return
        if broken is not None:
            self._fail(GrpcStatus.INTERNAL, f"{self._unreadable}: {broken}")
        elif self._take(work, done.result()):
            if work.complete:
                self._deliver(work)
                self._advance()
            else:
                self._send_off(work)

    def _take(self, work: "_Inflation", piece: bytes) -> bool:
        work.pieces.append(piece)
        work.size += len(piece)
        if work.size > self._limit:
            text = f"Received message larger than max ({work.size} vs. {self._limit}) after decompression"
            self._fail(GrpcStatus.RESOURCE_EXHAUSTED, text)
            return False
        return self._call.charge(len(piece))

    def _deliver(self, work: "_Inflation") -> None:
        message = work.pieces[0] if len(work.pieces) == 1 else b"".join(work.pieces)
        self._call.refund(work.size + work.compressed_size)
        self._call.inflated(message)

    def _fail(self, code: GrpcStatus, text: str) -> None:
        self.close()
        self._call.finish(code, text)


class _Inflation:
    """One message on its way; never grows by more than a step at a time, whatever its sender claims."""

    def __init__(self, message: bytes, window_bits: int, limit: int) -> None:
        self.compressed_size = len(message)
        self.pieces: list[bytes] = []
        self.size = 0
        self._limit = limit
        self._slices = _slices(message)
        self._tail: bytes | memoryview = b""
        self._zlib = zlib.decompressobj(window_bits)

    @property
    def complete(self) -> bool:
        return self._zlib.eof

    def step(self, at_most: int) -> bytes:
        """The next piece, of at most so many bytes; zlib.error if there can be none."""
        at_most = min(at_most, self._limit - self.size + 1)
        while True:
            source = self._tail or next(self._slices, b"")
            piece = self._zlib.decompress(source, at_most)
            self._tail = self._zlib.unconsumed_tail
            if piece or self._zlib.eof:
                return piece
            if not source:
                raise zlib.error("it ends early")


def _slices(message: bytes) -> Iterator[memoryview]:
    view = memoryview(message)
    return (view[at : at + _SLICE_BYTES] for at in range(0, len(view), _SLICE_BYTES))


class Deflater:
    """Compresses the responses of one call; a status that ends it waits for them."""

    def __init__(self, call: CompressedCall, algorithm: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._window_bits = _WINDOW_BITS[algorithm]
        self._loop = loop
        self._waiting: deque[Sequence[Buffer]] = deque()
        self._working: Sequence[Buffer] | None = None
        self.waiting_bytes = 0
        self._end: tuple[int, str] | None = None
        self._open = True

    def write(self, parts: Sequence[Buffer]) -> None:
        """Takes a message over together with its charge."""
        self.waiting_bytes += _size(parts)
        self._waiting.append(parts)
        if self._working is None:
            self._advance()

    def finish(self, code: int, text: str) -> None:
        self._end = (code, text)
        if self._working is None:
            self._advance()

    def close(self) -> None:
        self._open = False
        self._waiting.clear()

    def _advance(self) -> None:
        while self._open and self._waiting:
            parts = self._waiting.popleft()
            if _size(parts) > INLINE_BYTES:
                self._working = parts
                self._loop.run_in_executor(None, _deflate, parts, self._window_bits).add_done_callback(self._deflated)
                return
            self._push(parts, _deflate(parts, self._window_bits))
        if self._open and self._end is not None:
            self.close()
            self._call.finish(*self._end)

    def _deflated(self, done: _Done) -> None:
        parts, self._working = self._working, None
        assert parts is not None, "compressed nothing. This is a bug"
        if self._open and not done.cancelled():
            self._push(parts, done.result())
            self._advance()

    def _push(self, parts: Sequence[Buffer], deflated: bytes) -> None:
        size = _size(parts)
        self.waiting_bytes -= size
        self._call.refund(size)
        smaller = len(deflated) < size  # as gRPC core does: what does not shrink goes as it is
        self._call.push([deflated] if smaller else parts, smaller)


def _size(parts: Sequence[Buffer]) -> int:
    return sum(len(part) for part in parts)


def _deflate(parts: Sequence[Buffer], window_bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=window_bits)
    pieces = [compressor.compress(part) for part in parts]
    return b"".join(pieces) + compressor.flush()
