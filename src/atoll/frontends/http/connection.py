"""One client's connection: requests in (receiving.py), answers out, and the ends that it can come to.

Works on plain and on TLS transports.
"""

import asyncio
from typing import cast

from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer, render_head
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.port import Port
from atoll.frontends.http.receiving import NEVER, RequestReceiver
from atoll.frontends.http.states import ANSWER, CHUNKS, CLOSED, HEAD, LINGER, STREAM
from atoll.frontends.http.streaming import JOINED_SIZE, StreamedBody
from atoll.protocol.http_answer import total_length
from atoll.tensor import Buffer

HALF_CLOSED_S = 1.0  # for answering who sends no more: most of those have left, and their requests should not go on


class HttpConnection(RequestReceiver):
    """The protocol object of one connection. `deadline` is when `expire` is due, in the loop's time."""

    def __init__(self, port: Port):
        super().__init__(port)
        # for one request
        self._exchange: Exchange | None = None
        self._stream: StreamedBody | None = None
        # between them
        self._half_closed = False  # the client sends no more
        self._unwritten = 0

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.deadline = self._loop.time() + self._limits.idle_timeout_s
        if not self._port.adopt(self):
            text = "the server has too many connections, or is stopping: try again later"
            self._refuse(answers.refusal(503, text))

    def connection_lost(self, error: Exception | None) -> None:
        self._enter(CLOSED)
        self._transport = None
        self.deadline = NEVER
        self._waiting = bytearray()
        self._body = self._stream = None
        self._share.give_back()
        self._port.release(self)
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abandon()

    def eof_received(self) -> bool:
        """The client sends no more. Whether it has left as well cannot be seen, so its requests are not for long.

        True: the transport stays open for the answers.
        """
        transport = self._transport
        if self._state is not ANSWER or transport is None or not transport.can_write_eof():
            return False
        self._half_closed = True
        self._loop.call_later(HALF_CLOSED_S, self._give_up)
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        assert self._transport is not None, "only an open transport calls this. This is a bug"
        self._unwritten = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout_s

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._state is HEAD:
            self._share.give_back()
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            self._go_on()
        elif self._state is CHUNKS:
            self.deadline = self._loop.time() + self._limits.body_timeout_s
            self._go_on()
        elif self._state is ANSWER:
            self.deadline = NEVER
        elif self._state is STREAM:
            self.deadline = NEVER
            assert self._exchange is not None, "a stream belongs to an exchange. This is a bug"
            self._exchange.drained()

    # ---- what the port calls

    def finish(self) -> None:
        """The server is stopping: close now, or after the answer that is being worked on."""
        half_a_head = not self._writing_paused  # what waits while nothing holds it up
        if self._state is HEAD and (half_a_head or not self._waiting) and self._transport is not None:
            self._close()

    def abort(self) -> None:
        """Close at once, dropping what was not written."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        transport = self._transport
        if transport is None:
            return
        if self._writing_paused or self._state is CLOSED:
            unwritten = transport.get_write_buffer_size()
            if unwritten >= self._unwritten:
                transport.abort()
            else:  # slow, but it moves
                self._unwritten = unwritten
                self.deadline = now + self._limits.write_timeout_s
        elif self._state is LINGER:
            transport.abort()
        elif self._state is HEAD and not self._waiting:
            self._close()
        elif self._state is ANSWER or self._state is STREAM:
            self.deadline = NEVER
        else:
            self._refuse(answers.refusal(408, "the request did not arrive in time"))

    def _give_up(self) -> None:
        """The client that sends no more has had time to be answered."""
        if self._transport is not None and self._state in (ANSWER, STREAM):
            self._transport.abort()

    # ---- answering

    def _dispatch(self, head: RequestHead, body: memoryview) -> None:
        self._head_began = False
        self._body = None
        self._enter(ANSWER)
        self.deadline = NEVER
        exchange = self._exchange = Exchange(head, self)
        answer = head.refusal
        if answer is None:
            route = head.route
            assert route is not None, "a head has a route or a refusal. This is a bug"
            answer = call_endpoint(route, exchange, body)
        if answer is not None:
            exchange.answer(answer)

    def reserve(self, exchange: Exchange, size: int) -> bool:
        return exchange is not self._exchange or self._share.reach(self._share.held + size)

    def send(self, exchange: Exchange, answer: Answer) -> None:
        transport = self._transport
        if transport is None or exchange is not self._exchange:
            return
        head = exchange.head
        parts = answer.parts
        length = total_length(parts)
        keep_alive = head.keep_alive and not self._port.draining
        first = render_head(answer, length, head.minor_version, keep_alive, head.answer_headers)
        if head.method == "HEAD":
            transport.write(first)
        elif length <= JOINED_SIZE:
            transport.write(b"".join((first, *parts)))
        else:
            transport.writelines([first, *parts])
        self._complete(keep_alive)

    def begin(self, exchange: Exchange, status: int, headers: bytes) -> None:
        transport = self._transport
        if transport is None or exchange is not self._exchange:
            return
        self._enter(STREAM)
        if self._writing_paused:  # since before the request was whole
            self.deadline = self._loop.time() + self._limits.write_timeout_s
        keep_alive = exchange.head.keep_alive and not self._port.draining
        self._stream = StreamedBody(transport, exchange.head, keep_alive)
        self._stream.begin(status, headers + exchange.head.answer_headers)

    def write(self, exchange: Exchange, data: Buffer) -> bool:
        stream = self._stream
        if stream is None or exchange is not self._exchange:
            return True
        stream.write(data)
        return not self._writing_paused

    def end(self, exchange: Exchange) -> None:
        stream = self._stream
        if stream is None or exchange is not self._exchange:
            return
        self._stream = None
        stream.end()
        self._complete(stream.keep_alive and not self._port.draining)

    def break_off(self, exchange: Exchange) -> None:
        if self._transport is not None and exchange is self._exchange:
            self._exchange = self._stream = None
            self._enter(CLOSED)
            self._transport.abort()

    def _complete(self, keep_alive: bool) -> None:
        """The answer is written: on to the next request, or to the end."""
        self._exchange = None
        if self._writing_paused and self._transport is not None:  # what the client leaves lying takes room, too
            self._share.hold(self._transport.get_write_buffer_size())
        elif self._share.held:
            self._share.give_back()
        if not keep_alive:
            self._close()
            return
        self._enter(HEAD)
        if not self._writing_paused:
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            if self._waiting or self._half_closed:
                self._go_on()
        else:
            self.deadline = self._loop.time() + self._limits.write_timeout_s

    def _go_on(self) -> None:
        """With what was received earlier; or to the end, where nothing else can come."""
        self._advance_waiting()
        if self._half_closed and self._state is HEAD and not (self._advancing or self._writing_paused):
            self._close()

    def _refuse(self, answer: Answer) -> None:
        """Answer without knowing where the request ends; then end the connection so that the client can read it."""
        transport = self._transport
        assert transport is not None, "only an open connection is refused. This is a bug"
        self._enter(LINGER)
        self._body = self._chunks = None
        self._share.give_back()
        first = render_head(answer, total_length(answer.parts), 1, False)
        transport.write(b"".join((first, *answer.parts)))
        self.deadline = self._loop.time() + self._limits.linger_timeout_s
        if transport.can_write_eof():  # not over TLS: there the client closes, or the deadline does
            transport.write_eof()

    def _close(self) -> None:
        assert self._transport is not None, "only an open connection is closed. This is a bug"
        self._enter(CLOSED)
        self._unwritten = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout_s
        self._transport.close()
