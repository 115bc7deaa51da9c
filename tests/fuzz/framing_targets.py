"""Where HTTP messages begin and end, and what they are compressed with."""

import zlib
from collections.abc import Mapping
from contextlib import suppress

from tests.fuzz.target import Target

from atoll.errors import AtollError
from atoll.frontends.apis import Api
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.compression import choose, inflate
from atoll.frontends.http.head import HeadParser
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.routes import Route, RouteTable

LIMIT = 1 << 16


def http_head(data: bytes) -> None:
    """A head that is parsed again is the same one, and leads somewhere or says why not."""
    routes = RouteTable(
        [
            Route("POST", "/v2/models/{model}/versions/{version}/infer", lambda exchange, body: None, Api.INFERENCE),
            Route("GET", "/v2/{repository}", lambda exchange, body: None, Api.METADATA, control=True),
        ]
    )
    parser = HeadParser(routes, ConnectionLimits())
    head = parser.parse(data)
    again = parser.parse(data)
    assert (again.method, again.headers, again.length) == (head.method, head.headers, head.length)
    assert (head.refusal is None) <= (head.route is not None)
    assert head.length >= -1


_HEADS = (
    b"POST /v2/models/a%2f..%2fb/versions/3/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"
    b"Inference-Header-Content-Length: 5\r\nAccept-Encoding: gzip;q=0.5, deflate\r\n\r\n",
    b"GET /v2/r HTTP/1.0\r\nOrigin: http://evil\r\nConnection: keep-alive, close\r\n\r\n",
    b"GET http://h:1/v2/r?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n",
    b"POST * HTTP/1.1\r\nContent-Length: 99999999999999999999\r\nAtoll-Deadline-Seconds: 1e9\r\n\r\n",
)


def http_chunks(data: bytes) -> None:
    """Wherever a chunked body is cut, it comes out the same, and never longer than its limit."""
    if not data:
        return
    step = data[0] % 17 + 1
    data = data[1:]
    whole = ChunkedBody(LIMIT)
    outcome = whole.feed(data, 0)
    cut = ChunkedBody(LIMIT)
    progress = Progress.MORE
    for start in range(0, len(data), step):
        progress, _ = cut.feed(data[start : start + step], 0)
        if progress is not Progress.MORE:
            break
    assert (progress is Progress.DONE) == (outcome[0] is Progress.DONE) or not data
    if progress is Progress.DONE:
        assert bytes(cut.body) == bytes(whole.body)
    assert len(whole.body) <= LIMIT + len(data)


_CHUNKS = (
    b"\x03" + b'5;x=y\r\n{"rea\r\n9\r\ndy":true}\r\n0\r\nTrailer: t\r\n\r\n',
    b"\x00" + b"0\r\n\r\n",
    b"\x01" + b"fffffffffffffff\r\nabc",
)


def compressed(data: bytes) -> None:
    """However much a body would inflate to, it stops at the limit."""
    with suppress(AtollError):
        assert len(inflate(data, LIMIT)) <= LIMIT
    assert choose(data.decode("latin-1")) in ("", "gzip", "deflate")


_COMPRESSED = (
    zlib.compress(b"x" * 1000),
    zlib.compressobj(wbits=31).compress(b"") + zlib.compress(bytes(1 << 20), wbits=31),
    zlib.compress(b"a", wbits=31) + zlib.compress(b"b", wbits=31),
)


TARGETS: Mapping[str, Target] = {
    "http_head": Target(http_head, _HEADS),
    "http_chunks": Target(http_chunks, _CHUNKS),
    "compressed": Target(compressed, _COMPRESSED),
}
