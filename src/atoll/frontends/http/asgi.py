"""The same HTTP endpoints as an ASGI application, to be mounted in another one or served by another server.

Sizes of bodies are limited here; headers, connections and times are the business of the server that runs it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.connection import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead, interpret
from atoll.frontends.http.limits import MIB
from atoll.frontends.http.service import HttpService
from atoll.protocol.http_answer import total_length

if TYPE_CHECKING:
    from atoll.server import Server

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def asgi_app(server: "Server", max_body_size: int = 64 * MIB) -> AsgiApp:
    """An ASGI 3 application with this server's HTTP endpoints; starting and stopping the server is the caller's."""
    return _App(server, max_body_size)


class _App:
    def __init__(self, server: "Server", max_body_size: int):
        self._server = server
        self._max_body_size = max_body_size
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
        body = await self._body(receive)
        if body is None:
            return
        answer: Answer | None
        if len(body) > self._max_body_size:
            answer = answers.refusal(
                413, f"the request body exceeds the maximum allowed value of {self._max_body_size} bytes."
            )
        else:
            answer = await self._answer(head, memoryview(body), receive)
        if answer is not None:
            await _send(answer, head.method, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            stopping = message["type"] == "lifespan.shutdown"
            if stopping and self._service is not None:
                self._service.close()
            await send({"type": message["type"] + ".complete"})
            if stopping:
                return

    def _head(self, scope: Message) -> RequestHead:
        loop = asyncio.get_running_loop()
        if self._service is None or loop is not self._loop:
            self._loop, self._service = loop, HttpService(self._server, loop, self._max_body_size)
        raw_path = scope.get("raw_path")
        path = scope["path"] if raw_path is None else raw_path.partition(b"?")[0].decode("utf-8", "surrogateescape")
        headers = [
            (name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))
            for name, value in scope["headers"]
        ]
        return interpret(self._service.routes, scope["method"], path.removeprefix(scope.get("root_path", "")), headers)

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

    async def _answer(self, head: RequestHead, body: memoryview, receive: Receive) -> Answer | None:
        """The endpoint's answer; None where the client went away first."""
        if head.refusal is not None:
            return head.refusal
        assert head.route is not None, "a head has a route or a refusal. This is a bug"
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        exchange = Exchange(head, lambda _, answer: answered.set_result(answer))
        at_once = call_endpoint(head.route, exchange, body)
        if at_once is not None:
            return at_once
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
            return answered.result() if answered.done() else None
        finally:
            gone.cancel()
            if not answered.done():
                exchange.abandon()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(answer: Answer, method: str, send: Send) -> None:
    lines = (answer.headers + answer.late_headers).split(b"\r\n")
    headers = [tuple(line.split(b": ", 1)) for line in lines if line]
    headers.append((b"Content-Length", b"%d" % total_length(answer.parts)))
    start = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name.lower(), value) for name, value in headers],
    }
    await send(start)
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else b"".join(answer.parts)})
