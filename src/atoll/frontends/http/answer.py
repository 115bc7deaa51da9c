"""What goes back over HTTP: status, headers and body parts; and the one table from error codes to HTTP statuses."""

from typing import Any

from atoll.errors import AtollError, Code, OverloadedError, UnauthenticatedError
from atoll.protocol import documents, json_text
from atoll.tensor import Buffer

STATUS_OF = {
    Code.INTERNAL: 500,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
    Code.UNSUPPORTED: 501,
    Code.DEADLINE_EXCEEDED: 504,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
}
OTHER_ERRORS = 400

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",  # the real server's words
    408: "Request Timeout",
    409: "Conflict",
    413: "Payload Too Large",
    414: "URI Too Long",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}
_STATUS_LINES = {code: f" {code} {reason}\r\n".encode() for code, reason in REASONS.items()}
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")

JSON = b"Content-Type: application/json\r\n"
TEXT = b"Content-Type: text/plain\r\n"

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answer:
    """A whole answer. `headers` are finished lines; `late_headers` are those that follow Content-Length."""

    __slots__ = ("headers", "late_headers", "parts", "status")

    def __init__(self, status: int, parts: list[Buffer], headers: bytes = b"", late_headers: bytes = b""):
        self.status = status
        self.parts = parts
        self.headers = headers
        self.late_headers = late_headers


def render_head(answer: Answer, length: int, minor_version: int, keep_alive: bool, further: bytes = b"") -> bytes:
    """The status line and the headers of an answer whose body has `length` bytes; `further`: more finished lines."""
    if not keep_alive:
        connection = b"Connection: close\r\n"
    else:
        connection = b"" if minor_version else b"Connection: keep-alive\r\n"
    return b"%b%b%b%bContent-Length: %d\r\n%b%b\r\n" % (
        _VERSIONS[minor_version],
        _STATUS_LINES[answer.status],
        answer.headers,
        connection,
        length,
        answer.late_headers,
        further,
    )


def render_stream_head(status: int, headers: bytes, chunked: bool, keep_alive: bool) -> bytes:
    """The same for a body of unknown length: in chunks (HTTP/1.1), or up to the connection's end (HTTP/1.0)."""
    return b"%b%b%b%b%b\r\n" % (
        _VERSIONS[chunked],
        _STATUS_LINES[status],
        headers,
        b"Transfer-Encoding: chunked\r\n" if chunked else b"",
        b"" if keep_alive else b"Connection: close\r\n",
    )


def with_headers(answer: Answer, headers: bytes) -> Answer:
    """The same answer with more finished lines."""
    return Answer(answer.status, answer.parts, answer.headers, answer.late_headers + headers)


def document(value: Any, status: int = 200) -> Answer:
    """A JSON document."""
    return Answer(status, [json_text.dump(value)], headers=JSON)


def empty(status: int = 200) -> Answer:
    """No body: what health endpoints answer."""
    return Answer(status, [], late_headers=TEXT)


def refusal(status: int, text: str, *, plain: bool = True, headers: bytes = b"") -> Answer:
    """An error in the protocol's JSON shape. `plain`: labelled text/plain, as the real server does in many places."""
    body = json_text.dump(documents.error(text))
    if plain:
        return Answer(status, [body], headers=headers, late_headers=TEXT)
    return Answer(status, [body], headers=headers + JSON)


def refusal_of(error: AtollError, *, plain: bool = False) -> Answer:
    """The answer that says what went wrong."""
    headers = b""
    if isinstance(error, OverloadedError):
        headers = b"Retry-After: %d\r\n" % error.retry_after_s
    elif isinstance(error, UnauthenticatedError):
        headers = b"WWW-Authenticate: Bearer\r\n"
    return refusal(STATUS_OF.get(error.code, OTHER_ERRORS), str(error), plain=plain, headers=headers)
