"""Connections whose requests stand in the access log. Where there is none, these are not made."""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic_ns

from atoll.frontends.access_log import Access, AccessLog, Facts, logged_headers, short
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.connection import HttpConnection
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.port import Port
from atoll.protocol.http_answer import total_length
from atoll.tensor import Buffer

GONE = 499  # nginx's number for a client that left before it was answered
_ABORTED = {"aborted": True}


def connection_maker(log: AccessLog | None) -> Callable[[Port], HttpConnection]:
    """What makes a port's connections."""
    return HttpConnection if log is None else partial(LoggedConnection, log)


class LoggedConnection(HttpConnection):
    """Notes each answer when it is handed to the transport. The request's time begins when the whole of it is there."""

    def __init__(self, log: AccessLog, port: Port):
        super().__init__(port)
        self._note = log.note
        self._peer = ""
        # for one request
        self._began_ns = 0
        self._bytes_in = 0
        self._status = 0  # of an answer that has begun and not ended
        self._bytes_out = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer = peer_of(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._log(exchange, self._status or GONE, self._bytes_out, aborted=True)
        super().connection_lost(error)

    def _dispatch(self, head: RequestHead, body: memoryview) -> None:
        self._began_ns = monotonic_ns()
        self._bytes_in = len(body)
        self._head = None
        super()._dispatch(head, body)

    def send(self, exchange: Exchange, answer: Answer) -> None:
        if exchange is self._exchange:
            size = 0 if exchange.head.method == "HEAD" else total_length(answer.parts)
            self._log(exchange, answer.status, size)  # first: the next request may be answered before `send` returns
        super().send(exchange, answer)

    def begin(self, exchange: Exchange, status: int, headers: bytes) -> None:
        if exchange is self._exchange:
            self._status = status
            self._bytes_out = 0
        super().begin(exchange, status, headers)

    def write(self, exchange: Exchange, data: Buffer) -> bool:
        if exchange is self._exchange and exchange.head.method != "HEAD":
            self._bytes_out += len(data)
        return super().write(exchange, data)

    def end(self, exchange: Exchange) -> None:
        if exchange is self._exchange:
            self._log(exchange, self._status, self._bytes_out)
        super().end(exchange)

    def break_off(self, exchange: Exchange) -> None:
        if exchange is self._exchange:
            self._log(exchange, self._status, self._bytes_out, aborted=True)
        super().break_off(exchange)

    def _refuse(self, answer: Answer) -> None:
        head, self._head = self._head, None
        now = monotonic_ns()
        size = total_length(answer.parts)
        if head is None:
            self._note(Access("http", self._peer, "", "", answer.status, now, now, 0, size, ()))
        else:
            path, headers = short(head.path), logged_headers(head.headers)
            self._note(Access("http", self._peer, head.method, path, answer.status, now, now, 0, size, headers))
        super()._refuse(answer)

    def _log(self, exchange: Exchange, status: int, bytes_out: int, *, aborted: bool = False) -> None:
        head = exchange.head
        self._status = 0
        self._note(
            Access(
                "http",
                self._peer,
                head.method,
                short(head.path),
                status,
                self._began_ns,
                monotonic_ns(),
                self._bytes_in,
                bytes_out,
                logged_headers(head.headers),
                "" if head.key is None else head.key.name,
                getattr(exchange, "facts", None) or _facts_of_path(head),
                _ABORTED if aborted else None,
            )
        )


def _facts_of_path(head: RequestHead) -> Facts | None:
    """Of a request that did not come as far as the engine: the model that its path names."""
    arguments = head.arguments
    model = arguments.get("model", "")
    return Facts("", short(model), short(arguments.get("version", "")), None) if model else None


def peer_of(transport: asyncio.BaseTransport) -> str:
    """`127.0.0.1:50123`, `[::1]:50123`, or `unix`."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) >= 2:
        return f"[{name[0]}]:{name[1]}" if ":" in str(name[0]) else f"{name[0]}:{name[1]}"
    return "unix"
