"""One client's connection: HTTP/1.1 as an asyncio protocol, with a limit on everything that the client can make grow.

Requests are taken one at a time: what a client sends ahead waits, up to a limit, then reading pauses. Works on plain
and on TLS transports.
"""

import asyncio
from typing import cast

from atoll.frontends.buffering import BufferShare
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import CONTINUE, Answer, render_head
from atoll.frontends.http.bodies import NOTHING, SizedBody
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import CHUNKED, RequestHead, malformed
from atoll.frontends.http.port import Port
from atoll.frontends.http.states import ANSWER, BODY, CHUNKS, CLOSED, HEAD, LINGER, MOVES, STREAM, State
from atoll.frontends.http.streaming import JOINED_SIZE, StreamedBody
from atoll.protocol.http_answer import total_length
from atoll.tensor import Buffer

HEAD_END = b"\r\n\r\n"
NEVER = float("inf")
HALF_CLOSED_S = 1.0  # for answering who sends no more: most of those have left, and their requests should not go on
STRANGERS_SIZE = 64 << 10  # of a body that is taken in although its sender may not use the endpoint


class HttpConnection(asyncio.BufferedProtocol):
    """The protocol object of one connection. `deadline` is when `expire` is due, in the loop's time."""

    def __init__(self, port: Port):
        # for the connection's life
        self._port = port
        self._limits = port.limits
        self._loop = port.loop
        self._transport: asyncio.Transport | None = None
        self._share = BufferShare(port.bodies)
        # for one request
        self._state = HEAD
        self._head: RequestHead | None = None
        self._body: SizedBody | None = None
        self._chunks: ChunkedBody | None = None
        self._head_began = False
        self._exchange: Exchange | None = None
        self._stream: StreamedBody | None = None
        # between them
        self.deadline = NEVER
        self._waiting = bytearray()  # received, but not looked at yet, or not a whole head yet
        self._advancing = False
        self._half_closed = False  # the client sends no more
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
        self._body = self._stream = None
        self._share.give_back()
        self._port.release(self)
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abandon()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._state is BODY:
            assert self._body is not None, "this state has a body. This is a bug"
            room = self._body.room()
            if room is not None:
                return room
            self._refuse_for_room()
        return self._port.scratch

    def buffer_updated(self, nbytes: int) -> None:
        state = self._state
        if state is BODY:
            body = self._body
            assert body is not None, "this state has a body. This is a bug"
            assert self._head is not None, "a body belongs to a head. This is a bug"
            body.filled += nbytes
            if body.filled == body.length:
                self._dispatch(self._head, body.memory)
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
        elif state is ANSWER or state is STREAM:
            self._waiting += self._port.scratch[:nbytes]
            self._bound_waiting()

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
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            self._advance_waiting()
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
        else:
            self._refuse(answers.refusal(408, "the request did not arrive in time"))

    def _give_up(self) -> None:
        """The client that sends no more has had time to be answered."""
        if self._transport is not None and self._state in (ANSWER, STREAM):
            self._transport.abort()

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
        if self._half_closed and self._state is HEAD and not self._writing_paused:
            self._close()

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
            self._dispatch(head, NOTHING)
            return position
        if length > self._limits.max_body_size:
            self._head = head
            self._refuse(self._too_large(f"of {length} bytes "))
            return position
        available = len(data) - position
        if 0 < length <= available:
            self._dispatch(head, memoryview(data)[position : position + length])
            return position + length
        early = head.expects_continue or (head.stranger and not 0 < length <= STRANGERS_SIZE)
        if early and head.refusal is not None:  # the body need not be sent
            self._head = head
            self._refuse(answers.with_headers(head.refusal, head.answer_headers))
            return position
        self._head = head
        self.deadline = self._loop.time() + self._limits.body_timeout_s
        if head.expects_continue and head.minor_version:
            assert self._transport is not None, "a request came over an open transport. This is a bug"
            self._transport.write(CONTINUE)
        if length == CHUNKED:
            self._enter(CHUNKS)
            self._chunks = ChunkedBody(self._limits.max_body_size)
            return position
        self._enter(BODY)
        self._body = SizedBody(length, self._share)
        if not self._body.begin(memoryview(data)[position:]):
            self._refuse_for_room()
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
        elif self._share.reach(len(self._chunks.body)):
            self.deadline = self._loop.time() + self._limits.body_timeout_s
        else:
            self._refuse_for_room()
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
        if self._share.held:
            self._share.give_back()
        if not keep_alive:
            self._close()
            return
        self._enter(HEAD)
        if not self._writing_paused:
            self.deadline = self._loop.time() + self._limits.idle_timeout_s
            if self._waiting or self._half_closed:
                self._advance_waiting()

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

    def _refuse_for_room(self) -> None:
        self._refuse(answers.refusal(503, "the server holds as many requests' bodies as it can: try again later"))

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
