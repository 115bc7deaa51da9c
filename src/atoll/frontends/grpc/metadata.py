"""The forms of metadata on the wire: names, values, `-bin`, the grpc-timeout header and the grpc-message trailer."""

import base64
import binascii
import re
from collections.abc import Iterable

from atoll.frontends.grpc.transport import Metadata

_NAME = re.compile(r"[0-9a-z_.\-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_NANOSECONDS = {
    b"H": 3_600_000_000_000,
    b"M": 60_000_000_000,
    b"S": 1_000_000_000,
    b"m": 1_000_000,
    b"u": 1_000,
    b"n": 1,
}
_PUSHBACK = "grpc-retry-pushback-ms"  # the one name of gRPC's own that a server's code may set
_LONGEST_TEXT = 6 << 10
_UNSAFE = re.compile(rb"[^\x20-\x24\x26-\x7e]")


def checked(items: Metadata) -> Metadata:
    """The same items as a tuple; ValueError, naming the item, if one cannot be sent."""
    kept = tuple(items)
    for name, value in kept:
        if not _NAME.fullmatch(name) or (name.startswith("grpc-") and name != _PUSHBACK):
            raise ValueError(f"metadata name '{name}' must be of 0-9 a-z _ . - and must not begin with 'grpc-'")
        if name.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"metadata '{name}' must have bytes for a value, as every name ending in '-bin'")
        elif not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f"metadata '{name}' must have a str of printable ASCII for a value")
    return kept


def to_wire(items: Metadata) -> list[tuple[bytes, bytes]]:
    """Checked items as HTTP/2 headers."""
    return [
        (
            name.encode(),
            base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode(),
        )
        for name, value in items
    ]


def from_wire(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str | bytes]]:
    """Received headers as metadata. One `-bin` header may hold several values, separated by commas; one that is not
    base64 is left out."""
    items: list[tuple[str, str | bytes]] = []
    for raw_name, raw in headers:
        name = raw_name.decode("latin-1")
        if not name.endswith("-bin"):
            items.append((name, raw.decode("latin-1")))
            continue
        for piece in raw.split(b","):
            piece = piece.strip().rstrip(b"=")
            try:
                items.append(
                    (
                        name,
                        base64.b64decode(piece + b"=" * (-len(piece) % 4), validate=True),
                    )
                )
            except binascii.Error:
                continue
    return items


def parse_timeout(value: bytes) -> int | None:
    """The `grpc-timeout` header in ns; None if it is malformed."""
    match = _TIMEOUT.fullmatch(value)
    return None if match is None else int(match[1]) * _NANOSECONDS[match[2]]


def encode_text(text: str) -> bytes:
    """A status text for the `grpc-message` trailer: UTF-8, percent-encoded where it is not printable ASCII, and cut
    to what clients take (they refuse trailers beyond 8 KiB, and then show nothing of it)."""
    raw = text[:_LONGEST_TEXT].encode("utf-8", "replace")
    if len(encoded := _percent_encoded(raw)) <= _LONGEST_TEXT:
        return encoded
    return _percent_encoded(raw[: _LONGEST_TEXT // 3].decode("utf-8", "ignore").encode())


def _percent_encoded(raw: bytes) -> bytes:
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], raw)
