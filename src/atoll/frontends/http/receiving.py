"""A client's bytes taken in, up to whole requests, with a limit on everything that they can make grow.

Requests are taken one at a time: what a client sends ahead waits, up to a limit, then reading pauses.
"""

import asyncio
from abc import abstractmethod

from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import CONTINUE, Answer
from atoll.frontends.http.bodies import NOTHING, SizedBody
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.head import CHUNKED, RequestHead, malformed
from atoll.frontends.http.port import Port
from atoll.frontends.http.states import ANSWER, BODY, CHUNKS, CLOSED, HEAD, LINGER, MOVES, STREAM, State
from atoll.frontends.listening.buffering import BufferShare

HEAD_END = b"\r\n\r\n"
NEVER = float("inf")
NO_ROOM = "the server holds as many requests' bodies as it can: try again later"
STRANGERS_SIZE = 64 << 10  # of a body that is taken in although its sender may not use the endpoint


class RequestReceiver(asyncio.BufferedProtocol):
    """The half of a connection that reads. `deadline` is when `expire` is due, in the loop's time."""

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
        # between them
        self.deadline = NEVER
        self._waiting = bytearray()  # received, but not looked at yet, or not a whole head yet
        self._advancing = False
        self._reading_paused = False
        self._writing_paused = False  # the client takes no answers, so no more requests are taken from it

    # ---- what the other half does

    @abstractmethod
    def _dispatch(self, head: RequestHead, body: memoryview) -> None:
        """A whole request."""

    @abstractmethod
    def _refuse(self, answer: Answer) -> None:
        """The answer to what cannot become a whole request, and the connection's end."""

    # ---- what the transport calls

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

    # ---- taking in

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

    def _refuse_for_room(self) -> None:
        self._refuse(answers.refusal(503, NO_ROOM))

    def _bound_waiting(self) -> None:
        if len(self._waiting) > self._limits.max_pipelined_size and not self._reading_paused:
            self._reading_paused = True
            assert self._transport is not None, "data came over an open transport. This is a bug"
            self._transport.pause_reading()

    def _enter(self, state: State) -> None:
        if state not in MOVES[self._state]:
            raise AssertionError(f"a connection cannot go from {self._state.name} to {state.name}. This is a bug")
        self._state = state
