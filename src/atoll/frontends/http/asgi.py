"""The same HTTP endpoints as an ASGI application, to be mounted in another one or served by another server.

Sizes of bodies are limited here; headers, connections and times are the business of the server that runs it.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from atoll.errors import InvalidArgumentError
from atoll.frontends.context import FrontendContext
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead, interpret
from atoll.frontends.http.limits import KIB, MIB
from atoll.frontends.http.service import HttpService
from atoll.options import OPTIONS
from atoll.protocol.http_answer import total_length
from atoll.tensor import Buffer

if TYPE_CHECKING:
    from atoll.server import Server

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
HIGH_WATER = 64 * KIB
_OF_HTTP = ("http-restricted-api", "allow-dashboard")

AsgiApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def asgi_app(server: "Server", max_body_size: int = 64 * MIB, **options: Any) -> AsgiApp:
    """An ASGI 3 application with this server's HTTP endpoints; starting and stopping the server is the caller's.

    `options` are those of `atoll serve` that say who may use it, with `_` for `-`: http_restricted_api, api_key_file,
    api_key_exempt and cors_*; and allow_dashboard. Raises InvalidArgumentError for another one, and for values that
    cannot be.
    """
    known = {one.field: one.default for one in OPTIONS if one.section == "Access" or one.name in _OF_HTTP}
    for name in options:
        if name not in known:
            raise InvalidArgumentError(f"asgi_app: there is no option '{name}'; it takes {', '.join(known)}")
    return _App(server, max_body_size, FrontendContext.from_values(server, {**known, **options}))


class _App:
    def __init__(self, server: "Server", max_body_size: int, context: FrontendContext):
        self._server = server
        self._max_body_size = max_body_size
        self._context = context
        self._free = weakref.finalize(self, context.close)  # for servers that never tell of their end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: HttpService | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            raise NotImplementedError(f"this application speaks HTTP, not {scope['type']}")

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        head = self._head(scope)
        if head.stranger:
            assert head.refusal is not None, "a stranger's head carries its refusal. This is a bug"
            await _Reply(head, send).deliver_whole(head.refusal)
            return
        body = await self._body(receive)
        if body is None:
            return
        if len(body) > self._max_body_size:
            text = f"the request body exceeds the maximum allowed value of {self._max_body_size} bytes."
            await _Reply(head, send).deliver_whole(answers.refusal(413, text))
        else:
            await self._answer(head, memoryview(body), receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            stopping = message["type"] == "lifespan.shutdown"
            if stopping and self._service is not None:
                self._service.close()
            if stopping:
                self._free()
            await send({"type": message["type"] + ".complete"})
            if stopping:
                return

    def _head(self, scope: Message) -> RequestHead:
        loop = asyncio.get_running_loop()
        if self._service is None or loop is not self._loop:
            self._loop, self._service = loop, self._make_service(loop)
        raw_path = scope.get("raw_path")
        path = scope["path"] if raw_path is None else raw_path.partition(b"?")[0].decode("utf-8", "surrogateescape")
        headers = [
            (name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))
            for name, value in scope["headers"]
        ]
        routes = self._service.routes
        head = interpret(routes, scope["method"], path.removeprefix(scope.get("root_path", "")), headers)
        if routes.carrying is not None:
            head.carried = routes.carrying.read(headers)
        return head

    def _make_service(self, loop: asyncio.AbstractEventLoop) -> HttpService:
        if self._context.access is not None:
            self._context.access.watch()
        return HttpService(self._server, loop, self._max_body_size, self._context)

    async def _body(self, receive: Receive) -> bytearray | None:
        """The body, up to one piece beyond the limit; None where the client has gone."""
        body = bytearray()
        while len(body) <= self._max_body_size:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return body

    async def _answer(self, head: RequestHead, body: memoryview, receive: Receive, send: Send) -> None:
        reply = _Reply(head, send)
        if head.refusal is not None:
            await reply.deliver_whole(head.refusal)
            return
        assert head.route is not None, "a head has a route or a refusal. This is a bug"
        exchange = Exchange(head, reply)
        at_once = call_endpoint(head.route, exchange, body)
        if at_once is not None:
            await reply.deliver_whole(at_once)
            return
        gone = asyncio.ensure_future(_disconnected(receive))
        delivered = asyncio.ensure_future(reply.deliver(exchange))
        try:
            await asyncio.wait((delivered, gone), return_when=asyncio.FIRST_COMPLETED)
            if delivered.done():
                delivered.result()
        finally:
            gone.cancel()
            delivered.cancel()
            if not reply.complete:
                exchange.abandon()


class _Reply:
    """What brings one exchange's answer to the server that runs the application: as messages, sent in their order."""

    def __init__(self, head: RequestHead, send: Send):
        self.complete = False  # the answer is, though perhaps not sent yet
        self._bodiless = head.method == "HEAD"
        self._headers = head.answer_headers
        self._send = send
        self._messages: deque[Message] = deque()
        self._size = 0  # of the bodies in them
        self._behind = False
        self._broken = False
        self._news = asyncio.Event()

    # ---- the endpoint's side

    def reserve(self, exchange: Exchange, size: int) -> bool:
        return True  # how much is in flight is the business of the server that runs the application

    def send(self, exchange: Exchange, answer: Answer) -> None:
        self.complete = True
        for message in _messages(answer, self._headers, self._bodiless):
            self._put(message)

    def begin(self, exchange: Exchange, status: int, headers: bytes) -> None:
        self._put(_start(status, headers + self._headers))

    def write(self, exchange: Exchange, data: Buffer) -> bool:
        if not self._bodiless and len(data):
            self._put({"type": "http.response.body", "body": bytes(data), "more_body": True})
            self._behind = self._size > HIGH_WATER
        return not self._behind

    def end(self, exchange: Exchange) -> None:
        self.complete = True
        self._put({"type": "http.response.body", "body": b""})

    def break_off(self, exchange: Exchange) -> None:
        self.complete = self._broken = True
        self._news.set()

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._size += len(message.get("body", b""))
        self._news.set()

    # ---- the server's side

    async def deliver_whole(self, answer: Answer) -> None:
        """Sends an answer that is there already."""
        for message in _messages(answer, self._headers, self._bodiless):
            await self._send(message)

    async def deliver(self, exchange: Exchange) -> None:
        """Sends what comes until it is complete. Raises ConnectionError for an answer that is broken off."""
        while self._messages or not self.complete:
            while self._messages:
                message = self._messages.popleft()
                await self._send(message)
                self._size -= len(message.get("body", b""))
            if self._behind:
                self._behind = False
                exchange.drained()
            elif not self.complete:
                self._news.clear()
                await self._news.wait()
        if self._broken:
            raise ConnectionError("the answer ends in the middle")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _messages(answer: Answer, further: bytes, bodiless: bool) -> list[Message]:
    length = b"Content-Length: %d\r\n" % total_length(answer.parts)
    body = b"" if bodiless else b"".join(answer.parts)
    start = _start(answer.status, answer.headers + answer.late_headers + further + length)
    return [start, {"type": "http.response.body", "body": body}]


def _start(status: int, headers: bytes) -> Message:
    lines = (line.partition(b": ") for line in headers.split(b"\r\n") if line)
    pairs = [(name.lower(), value) for name, _, value in lines]
    return {"type": "http.response.start", "status": status, "headers": pairs}
