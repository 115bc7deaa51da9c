"""Content codings of bodies: which one to use, and bounded decompression."""

import zlib
from collections.abc import Iterable

from atoll.errors import InvalidArgumentError
from atoll.tensor import Buffer

SUPPORTED = ("gzip", "deflate")
_AUTOMATIC = 47  # zlib and gzip formats alike: the real server takes either under either name
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_STEP = 1024 * 1024


def choose(accept_encoding: str) -> str:
    """The best of the client's codings that we have, "" for none; names are case-sensitive as in the real server.

    Of two that weigh the same the first one counts; "identity" is one of them.
    """
    best, best_weight = "", 0.0
    for one in accept_encoding.split(","):
        name, _, options = one.partition(";")
        name = name.strip()
        if name not in SUPPORTED and name != "identity":
            continue
        weight = _weight(options)
        if weight > best_weight:
            best, best_weight = name, weight
    return "" if best == "identity" else best


def _weight(options: str) -> float:
    key, _, value = options.partition(";")[0].partition("=")
    if key.strip() != "q":
        return 1.0
    digits = value.strip()
    return float(digits) if digits.replace(".", "", 1).isascii() and digits.replace(".", "", 1).isdigit() else 0.0


def inflate(data: Buffer, limit: int) -> bytearray:
    """The decompressed data. Raises InvalidArgumentError where there is none, or it is damaged, cut off, or larger than
    `limit` bytes.
    """
    if not len(data):
        raise InvalidArgumentError("nothing to be decompressed")
    result = bytearray()
    source: Buffer = data
    while len(source):
        decoder = zlib.decompressobj(_AUTOMATIC)
        while not decoder.eof:
            try:
                piece = decoder.decompress(source, min(_STEP, limit - len(result) + 1))
            except zlib.error as error:
                raise InvalidArgumentError(f"failed to decompress the request body: {error}") from None
            result += piece
            if len(result) > limit:
                raise InvalidArgumentError(
                    f"the decompressed request body exceeds the maximum allowed value of {limit} bytes. "
                    "Use --http-max-input-size to increase the limit."
                )
            source = decoder.unconsumed_tail
            if not piece and not source and not decoder.eof:
                raise InvalidArgumentError("failed to decompress the request body: it is cut off")
        source = decoder.unused_data  # a gzip body may have several members
    return result


def deflate(parts: Iterable[Buffer], coding: str, level: int = zlib.Z_DEFAULT_COMPRESSION) -> bytes:
    """The parts, compressed into one. `level`: from 1, the quickest, to 9."""
    encoder = zlib.compressobj(level, wbits=_WINDOW_BITS[coding])
    pieces = [encoder.compress(part) for part in parts]
    pieces.append(encoder.flush())
    return b"".join(pieces)
