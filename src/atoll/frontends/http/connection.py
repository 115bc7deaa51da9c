"""One client's connection: HTTP/1.1 as an asyncio protocol, with a limit on everything that the client can make grow.

Requests are taken one at a time: what a client sends ahead waits, up to a limit, then reading pauses. Works on plain
and on TLS transports.
"""

import asyncio
import logging
from enum import IntEnum
from typing import Final, cast

import numpy as np

from atoll.errors import AtollError
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import CONTINUE, Answer, render_head
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import CHUNKED, RequestHead, malformed
from atoll.frontends.http.limits import KIB, MIB
from atoll.frontends.http.port import Port
from atoll.frontends.http.routes import Route
from atoll.protocol.http_answer import total_length

logger = logging.getLogger(__name__)

HEAD_END = b"\r\n\r\n"
NEVER = float("inf")
JOINED_SIZE = 64 * KIB  # up to here one copy costs less than several buffers in a system call
FIRST_ALLOCATION = 1 * MIB  # of a body whose length has only been claimed
GROWTH = 4
_NOTHING = memoryview(b"")


class State(IntEnum):
    """What the connection waits for."""

    HEAD = 0  # a request's head, or its first byte
    BODY = 1  # the rest of a body of known length
    CHUNKS = 2  # the rest of a chunked body
    ANSWER = 3  # the endpoint's answer
    LINGER = 4  # refused: the client's end, while what it still sends is dropped
    CLOSED = 5  # closing, or closed


# An enum's member costs ten times as much to look up as a module's name.
HEAD: Final = State.HEAD
BODY: Final = State.BODY
CHUNKS: Final = State.CHUNKS
ANSWER: Final = State.ANSWER
LINGER: Final = State.LINGER
CLOSED: Final = State.CLOSED

MOVES = {
    HEAD: {BODY, CHUNKS, ANSWER, LINGER, CLOSED},
    BODY: {ANSWER, LINGER, CLOSED},
    CHUNKS: {ANSWER, LINGER, CLOSED},
    ANSWER: {HEAD, CLOSED},
    LINGER: {CLOSED},
    CLOSED: {CLOSED},
}


class HttpConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection. `deadline` is when `expire` is due, in the loop's time."""

    def __init__(self, port: Port):
        # for the connection's life
        self._port = port
        self._limits = port.limits
        self._loop = port.loop
        self._transport: asyncio.Transport | None = None
        self._take = self._send
        # for one request
        self._state = HEAD
        self._head: RequestHead | None = None
        self._body = _NOTHING
        self._filled = 0
        self._held = 0  # of the port's budget for bodies
        self._chunks: ChunkedBody | None = None
        self._head_began = False
        self._exchange: Exchange | None = None
        # between them
        self.deadline = NEVER
        self._waiting = bytearray()  # received, but not looked at yet, or not a whole head yet
        self._advancing = False
        self._reading_paused = False
        self._writing_paused = False
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
        self._body = _NOTHING
        self._give_back()
        self._port.release(self)
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abandon()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._state is BODY and (self._filled < len(self._body) or self._grow()):
            return self._body[self._filled :]
        return self._port.scratch

    def buffer_updated(self, nbytes: int) -> None:
        state = self._state
        if state is BODY:
            self._filled += nbytes
            assert self._head is not None, "a body belongs to a head. This is a bug"
            if self._filled == self._head.length:
                self._dispatch(self._head, self._body)
                self._advance_waiting()
            else:
                self.deadline = self._loop.time() + self._limits.body_timeout_s
        elif state is HEAD or state is CHUNKS:
            data = bytes(self._port.scratch[:nbytes])
            if self._waiting or self._writing_paused:
                self._waiting += data
                if not self._writing_paused:
                    self._advance_waiting()
                else:
                    self._bound_waiting()
            else:
                self._advance(data)
        elif state is ANSWER:
            self._waiting += self._port.scratch[:nbytes]
            self._bound_waiting()

    def eof_received(self) -> None:
        """The client sends no more. If it waits for an answer it counts as gone: closing both ways looks the same."""

    def pause_writing(self) -> None:
        self._writing_paused = True
        assert self._transport is not None, "only an open transport calls this. This is a bug"
        self._unwritten = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout_s

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._state is HEAD:
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            self._advance_waiting()

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
        else:
            self._refuse(answers.refusal(408, "the request did not arrive in time"))

    # ---- receiving

    def _advance_waiting(self) -> None:
        """Go on with what was received earlier, as far as the state allows."""
        if self._advancing or self._writing_paused or self._state not in (HEAD, CHUNKS):
            return
        if self._waiting:
            data, self._waiting = self._waiting, bytearray()
            self._advance(data)
        if self._reading_paused and len(self._waiting) <= self._limits.max_pipelined_size:
            self._reading_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _advance(self, data: bytes | bytearray) -> None:
        self._advancing = True
        position, end = 0, len(data)
        while position < end and not self._writing_paused:
            if self._state is HEAD:
                taken = self._take_head(data, position)
                if taken < 0:
                    break
                position = taken
            elif self._state is CHUNKS:
                position = self._take_chunks(data, position)
            else:
                break
        self._advancing = False
        if position < end and self._state not in (LINGER, CLOSED):
            if position == 0 and type(data) is bytearray:
                self._waiting = data
            else:
                self._waiting = bytearray(memoryview(data)[position:])
            self._bound_waiting()

    def _take_head(self, data: bytes | bytearray, position: int) -> int:
        """Read one head and as much of its body as is there. Returns the position after that, -1 for: not whole yet."""
        while data.startswith(b"\r\n", position):  # RFC 9112, section 2.2
            position += 2
        head_end = data.find(HEAD_END, position, position + self._limits.max_head_size)
        if head_end < 0:
            return self._wait_for_head(data, position)
        position, start = head_end + len(HEAD_END), position
        head = self._port.heads.parse(bytes(data[start:position]))
        length = head.length
        if head.malformed:
            assert head.refusal is not None, "a malformed head carries its refusal. This is a bug"
            self._refuse(head.refusal)
            return position
        if length == 0:
            self._dispatch(head, _NOTHING)
            return position
        if length > self._limits.max_body_size:
            self._refuse(self._too_large(f"of {length} bytes "))
            return position
        available = len(data) - position
        if 0 < length <= available:
            self._dispatch(head, memoryview(data)[position : position + length])
            return position + length
        self._head = head
        self.deadline = self._loop.time() + self._limits.body_timeout_s
        if head.expects_continue:
            assert self._transport is not None, "a request came over an open transport. This is a bug"
            self._transport.write(CONTINUE)
        if length == CHUNKED:
            self._enter(CHUNKS)
            self._chunks = ChunkedBody(self._limits.max_body_size)
            return position
        self._enter(BODY)
        size = min(length, max(FIRST_ALLOCATION, available))
        if not self._hold(size):
            return len(data)
        self._body = np.empty(size, np.uint8).data
        self._body[:available] = memoryview(data)[position:]
        self._filled = available
        return len(data)

    def _wait_for_head(self, data: bytes | bytearray, position: int) -> int:
        length = len(data) - position
        limits = self._limits
        if length >= limits.max_head_size:
            head = malformed(431, f"the request's headers are longer than {limits.max_head_size} bytes")
        elif length > limits.max_target_size and data.find(b"\r\n", position) < 0:
            head = malformed(414, f"the request line is longer than {limits.max_target_size} bytes")
        else:
            if not self._head_began:
                self._head_began = True
                self.deadline = self._loop.time() + limits.header_timeout_s
            return -1
        assert head.refusal is not None, "a malformed head carries its refusal. This is a bug"
        self._refuse(head.refusal)
        return len(data)

    def _hold(self, size: int) -> bool:
        """Take that many bytes of the port's budget for bodies; if there are not as many left, refuse the request."""
        if self._port.bodies.take(size):
            self._held += size
            return True
        self._refuse(answers.refusal(503, "the server holds as many requests' bodies as it can: try again later"))
        return False

    def _give_back(self) -> None:
        if self._held:
            self._port.bodies.give_back(self._held)
            self._held = 0

    def _grow(self) -> bool:
        """More room for a body of which everything allocated so far has really come; False if it had to be refused."""
        assert self._head is not None, "a body belongs to a head. This is a bug"
        size = min(len(self._body) * GROWTH, self._head.length)
        if not self._hold(size - len(self._body)):
            return False
        larger = np.empty(size, np.uint8).data
        larger[: self._filled] = self._body
        self._body = larger
        return True

    def _take_chunks(self, data: bytes | bytearray, position: int) -> int:
        assert self._head is not None, "chunks belong to a head. This is a bug"
        assert self._chunks is not None, "this state has a decoder. This is a bug"
        progress, position = self._chunks.feed(data, position)
        if progress is Progress.DONE:
            body, self._chunks = memoryview(self._chunks.body), None
            self._dispatch(self._head, body)
        elif progress is Progress.TOO_LARGE:
            self._refuse(self._too_large(""))
        elif progress is Progress.MALFORMED:
            self._refuse(answers.refusal(400, "malformed HTTP request: the chunked body is broken"))
        elif self._hold(len(self._chunks.body) - self._held):
            self.deadline = self._loop.time() + self._limits.body_timeout_s
        return position

    def _too_large(self, size: str) -> Answer:
        return answers.refusal(
            413,
            f"the request body {size}exceeds the maximum allowed value of {self._limits.max_body_size} bytes. "
            "Use --http-max-input-size to increase the limit.",
        )

    # ---- answering

    def _dispatch(self, head: RequestHead, body: memoryview) -> None:
        self._head_began = False
        self._body = _NOTHING
        self._enter(ANSWER)
        self.deadline = NEVER
        exchange = self._exchange = Exchange(head, self._take)
        answer = head.refusal
        if answer is None:
            route = head.route
            assert route is not None, "a head has a route or a refusal. This is a bug"
            answer = call_endpoint(route, exchange, body)
        if answer is not None:
            exchange.answer(answer)

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        transport = self._transport
        if transport is None or exchange is not self._exchange:
            return
        self._exchange = None
        self._give_back()
        head = exchange.head
        parts = answer.parts
        length = total_length(parts)
        keep_alive = head.keep_alive and not self._port.draining
        first = render_head(answer, length, head.minor_version, keep_alive)
        if head.method == "HEAD":
            transport.write(first)
        elif length <= JOINED_SIZE:
            transport.write(b"".join((first, *parts)))
        else:
            transport.writelines([first, *parts])
        if not keep_alive:
            self._close()
            return
        self._enter(HEAD)
        if not self._writing_paused:
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            if self._waiting:
                self._advance_waiting()

    def _refuse(self, answer: Answer) -> None:
        """Answer without knowing where the request ends; then end the connection so that the client can read it."""
        transport = self._transport
        assert transport is not None, "only an open connection is refused. This is a bug"
        self._enter(LINGER)
        self._body = _NOTHING
        self._give_back()
        self._chunks = None
        first = render_head(answer, total_length(answer.parts), 1, False)
        transport.write(b"".join((first, *answer.parts)))
        self.deadline = self._loop.time() + self._limits.linger_timeout_s
        if transport.can_write_eof():
            transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        assert self._transport is not None, "only an open connection is closed. This is a bug"
        self._enter(CLOSED)
        self._unwritten = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout_s
        self._transport.close()

    def _bound_waiting(self) -> None:
        if len(self._waiting) > self._limits.max_pipelined_size and not self._reading_paused:
            self._reading_paused = True
            assert self._transport is not None, "data came over an open transport. This is a bug"
            self._transport.pause_reading()

    def _enter(self, state: State) -> None:
        if state not in MOVES[self._state]:
            raise AssertionError(f"a connection cannot go from {self._state.name} to {state.name}. This is a bug")
        self._state = state


def call_endpoint(route: Route, exchange: Exchange, body: memoryview) -> Answer | None:
    """The endpoint's answer, whatever happens in it; None where it comes later."""
    try:
        return route.endpoint(exchange, body)
    except AtollError as error:
        return answers.refusal_of(error, plain=route.plain_errors)
    except Exception:
        logger.exception("%s %s failed", route.method, route.path)
        return answers.refusal(500, "internal error while answering the request; the server's log has the details")
