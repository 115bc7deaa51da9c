"""The head of a request: its line and headers, parsed by httptools, its route found, and kept for the next equal one.

A client sends the same head again and again, byte for byte; looking it up costs a twentieth of parsing it.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httptools

from atoll.config.deadline import MAX_SECONDS, parse_deadline_ns
from atoll.errors import InvalidArgumentError
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.compression import choose
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.origin import is_foreign
from atoll.frontends.http.routes import Route, RouteTable
from atoll.frontends.inference.carried_headers import CarriedHeaders
from atoll.protocol.model_version import model_version

if TYPE_CHECKING:
    from atoll.frontends.access.keys import ApiKey

CHUNKED = -1
IMPOSSIBLE = 2**63  # a length that no limit allows

_DIGITS = re.compile(r"[0-9]{1,19}[ \t]*")  # the parser leaves the whitespace behind a value where it is
_ECHOED = re.compile(r"[!-~]{1,256}")  # an X-Request-Id that goes back as it came: printable, and no longer than this


class RequestHead:
    """What the rest of the server needs of a head. Shared between requests: nobody changes it.

    `length` is the body's, or CHUNKED. `refusal` is the answer where no endpoint is to see the request; `malformed`:
    where the request ends cannot be known, so the connection ends with the refusal. `json_length` is the
    Inference-Header-Content-Length (None: not given), `json_size`
    its number (-1: not given). `deadline_ns`: how long the request may take, 0: for ever, -1: not to be read.
    `answer_headers`: finished lines that every answer to it carries. `key`: the API key that it came with. `stranger`:
    who sent it may not use the endpoint, so its body need not be waited for.
    """

    __slots__ = (
        "accept_coding",
        "answer_headers",
        "arguments",
        "carried",
        "content_coding",
        "deadline_ns",
        "expects_continue",
        "headers",
        "json_length",
        "json_size",
        "keep_alive",
        "key",
        "length",
        "malformed",
        "method",
        "minor_version",
        "path",
        "refusal",
        "route",
        "stranger",
    )

    def __init__(self, method: str, headers: list[tuple[str, str]]):
        self.method = method
        self.headers = headers
        self.path = ""
        self.arguments: Mapping[str, str] = {}
        self.route: Route | None = None
        self.refusal: Answer | None = None
        self.malformed = False
        self.length = 0
        self.minor_version = 1
        self.keep_alive = True
        self.expects_continue = False
        self.json_length: str | None = None
        self.json_size = -1
        self.content_coding = ""
        self.deadline_ns = 0
        self.accept_coding = ""
        self.answer_headers = b""
        self.key: ApiKey | None = None
        self.stranger = False
        self.carried: CarriedHeaders | None = None  # what of the headers is for a model

    def request_id(self) -> str:
        """What X-Request-Id says, for the log; "" where it is not given."""
        return next((value for name, value in self.headers if name == "x-request-id"), "")


class HeadParser:
    """Parses heads and remembers the latest ones. One per port."""

    def __init__(
        self,
        routes: RouteTable,
        limits: ConnectionLimits,
        remembered: int = 1024,
        longest: int = 2048,
    ):
        self._routes = routes
        self._limits = limits
        self._known: dict[bytes, RequestHead] = {}
        self._remembered = remembered
        self._longest = longest
        if routes.gate is not None:
            routes.gate.tell(self)

    def parse(self, data: bytes) -> RequestHead:
        """The head in `data`, which ends with the empty line."""
        known = self._known  # taken first: what `forget` overtakes is remembered where nobody looks any more
        head = known.get(data)
        if head is None:
            head = self._parse(data)
            if len(data) <= self._longest and head.route is not None:  # what leads nowhere drives out nothing
                if len(known) >= self._remembered:
                    del known[next(iter(known))]
                known[data] = head
        return head

    def forget(self) -> None:
        """What was decided about heads holds no longer. May be called on any thread."""
        self._known = {}

    def _parse(self, data: bytes) -> RequestHead:
        limits = self._limits
        line_end = data.find(b"\r\n")
        if line_end > limits.max_target_size:
            return malformed(414, f"the request line is longer than {limits.max_target_size} bytes")
        if data.count(b"\r\n") - 2 > limits.max_header_count:
            return malformed(431, f"the request has more than {limits.max_header_count} headers")
        collected = _Collector()
        parser = httptools.HttpRequestParser(collected)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer that we decline by answering in HTTP/1.1
        except httptools.HttpParserError as error:
            return malformed(400, f"malformed HTTP request: {error}")
        version = parser.get_http_version()
        if not collected.complete or version not in ("1.0", "1.1"):
            return malformed(400, "malformed HTTP request: HTTP/1.0 and HTTP/1.1 are spoken here")
        written = [(name.decode("latin-1"), _text(value)) for name, value in collected.headers]
        head = interpret(
            self._routes,
            parser.get_method().decode("ascii"),
            _path(collected.target),
            [(name.lower(), value) for name, value in written],
        )
        if head.route is not None and self._routes.carrying is not None:
            head.carried = self._routes.carrying.read(written)  # by their names as they were written
        if head.length == CHUNKED and not _is_chunked(head):
            return malformed(501, "the only transfer coding of a body that is understood here is chunked")
        head.minor_version = int(version[2])
        head.keep_alive = _keeps_alive(head)
        return head


def interpret(routes: RouteTable, method: str, path: str, headers: list[tuple[str, str]]) -> RequestHead:
    """The head with its headers understood and its route found. Header names are lower-case."""
    head = RequestHead(method, headers)
    head.path = path
    origin = host = None
    for name, value in reversed(headers):  # of one that comes twice the first counts, as for the real server
        if name == "content-length":
            head.length = int(value) if _DIGITS.fullmatch(value) else IMPOSSIBLE
        elif name == "transfer-encoding":
            head.length = CHUNKED
        elif name == "inference-header-content-length":
            head.json_length = value
            head.json_size = int(value) if _DIGITS.fullmatch(value) else IMPOSSIBLE
        elif name == "content-encoding":
            head.content_coding = value
        elif name == "accept-encoding":
            head.accept_coding = choose(value)
        elif name == "expect":
            head.expects_continue = True
        elif name == "atoll-deadline-seconds":
            head.deadline_ns = parse_deadline_ns(value) or -1
        elif name == "x-request-id" and _ECHOED.fullmatch(value):
            head.answer_headers += b"X-Request-Id: %b\r\n" % value.encode()
        elif name == "origin":
            origin = value
        elif name == "host":
            host = value
    gate = routes.gate
    if gate is not None:
        gate.greet(head, origin)
    destination = routes.find(path)
    if destination is None:
        head.refusal = answers.refusal(404, "Not Found")
        return head
    methods, places = destination.methods, destination.places
    if gate is not None:
        head.refusal = gate.examine(head, origin, methods, places)
        if head.refusal is not None:
            head.stranger = True
            return head
    found = methods.get(method)
    if found is None:
        plain = next(iter(methods.values())).plain_errors
        allow = b"Allow: %b\r\n" % ", ".join(methods).encode()
        head.refusal = answers.refusal(405, "Method Not Allowed", plain=plain, headers=allow)
        return head
    head.route = found if gate is None or head.key is None else gate.metered(found, head.key)
    head.arguments, head.refusal = _normal_version(places)
    if head.deadline_ns < 0 and head.refusal is None:
        text = f"Atoll-Deadline-Seconds must be a number of seconds above 0 and up to {MAX_SECONDS}, such as 0.5"
        head.refusal = answers.refusal(400, text)
    if found.control and origin is not None and is_foreign(origin, host or ""):
        named = gate is not None and gate.names_origin(origin)
        head.refusal = head.refusal if named else _foreign(origin)
    return head


def _foreign(origin: str) -> Answer:
    return answers.refusal(
        403,
        f"requests from web pages of another origin ('{origin}') may not use this endpoint: call it from a program, "
        "or from a page of this server's own address, or name the origin in --cors-allow-origin",
    )


def malformed(status: int, text: str) -> RequestHead:
    """A head that cannot be read."""
    head = RequestHead("", [])
    head.malformed = True
    head.keep_alive = False
    head.refusal = answers.refusal(status, text)
    return head


def _normal_version(places: Mapping[str, str]) -> tuple[Mapping[str, str], Answer | None]:
    version = places.get("version")
    if version is None:
        return places, None
    try:
        return {**places, "version": model_version(version)}, None
    except InvalidArgumentError as error:
        return places, answers.refusal_of(error)


def _keeps_alive(head: RequestHead) -> bool:
    """RFC 9112, section 9.3. The parser's own answer is about the message's end, which it has not seen."""
    options = {
        option.strip().lower() for name, value in head.headers if name == "connection" for option in value.split(",")
    }
    if head.minor_version == 0:  # where chunks are unknown: who sends some may mean another end (section 6.1)
        return "keep-alive" in options and "close" not in options and head.length != CHUNKED
    return "close" not in options


def _is_chunked(head: RequestHead) -> bool:
    codings = [value.strip().lower() for name, value in head.headers if name == "transfer-encoding"]
    return codings == ["chunked"]


def _path(target: bytes) -> str:
    """Without the query; percent escapes stay as they are, as in the real server."""
    path = target.partition(b"?")[0]
    if path[:1] not in (b"/", b"*"):
        try:
            return urlsplit(_text(path)).path
        except ValueError:
            return ""
    return _text(path)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class _Collector:
    """What httptools calls while it parses."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True
