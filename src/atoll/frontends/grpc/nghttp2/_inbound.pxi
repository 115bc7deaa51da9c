# Reading: gRPC messages out of DATA frames.

cdef class InboundStream(Stream):
    """A 5-byte prefix, then a body that grows into `building` as it comes; whole messages wait for the handler."""
    cdef uint8_t prefix[5]
    cdef int prefix_length
    cdef bint compressed, complete     # complete: a unary call's message is here, and more are ignored as by gRPC core
    cdef nghttp2_rcbuf *encoding
    cdef PyObject *building
    cdef size_t length, filled, reserved
    cdef object message                 # of a unary call
    cdef object inbox                   # of a stream, a deque
    cdef size_t inbox_bytes, owed
    cdef object inflater, receiver

    def __dealloc__(self):
        Py_XDECREF(self.building)
        if self.encoding != NULL:
            nghttp2_rcbuf_decref(self.encoding)

    # ---- what a handler does

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            if self.cancelled:
                raise asyncio.CancelledError
            if self.inbox:
                message = self.inbox.popleft()
                self.inbox_bytes -= PyBytes_GET_SIZE(message) + MESSAGE_BYTES
                self.refund(PyBytes_GET_SIZE(message) + MESSAGE_BYTES)
                self._credit()
                return message
            if self.remote_closed and (self.inflater is None or not self.inflater.busy):
                raise StopAsyncIteration
            self.receiver = self.connection.endpoint.loop.create_future()
            await self.receiver

    # ---- out of the frames

    cdef int _feed(self, const uint8_t *data, size_t size) except -1:
        cdef size_t part
        cdef uint8_t *place
        while size and not self.complete:
            if self.building == NULL:
                if self.prefix_length == 0 and size >= 5:
                    memcpy(self.prefix, data, 5)
                    data += 5
                    size -= 5
                else:
                    while self.prefix_length < 5 and size:
                        self.prefix[self.prefix_length] = data[0]
                        self.prefix_length += 1
                        data += 1
                        size -= 1
                    if self.prefix_length < 5:
                        return 0
                self.prefix_length = 0
                if not self._begin_message():
                    return 0
                if self.length <= size:     # all here: one allocation of the right size, one copy
                    if not self.charge(self.length):
                        return 0
                    message = PyBytes_FromStringAndSize(<char *>data, self.length)
                    data += self.length
                    size -= self.length
                    self._whole(message)
                    if self.ended:
                        return 0
                    continue
                self.filled = 0
                self.reserved = SMALL_RESERVE if self.connection.buffered > EASY_BYTES else FIRST_RESERVE
                if self.reserved > self.length:
                    self.reserved = self.length
                if not self.charge(self.reserved):
                    return 0
                self.building = PyBytes_FromStringAndSize_raw(NULL, self.reserved)
            part = self.length - self.filled
            if part > size:
                part = size
            if self.filled + part > self.reserved and not self._grow(self.filled + part):
                return 0
            place = <uint8_t *>PyBytes_AS_STRING(<object>self.building) + self.filled
            if place != data:           # it was received there
                memcpy(place, data, part)
            self.filled += part
            data += part
            size -= part
            if self.filled == self.length:
                message = <object>self.building
                Py_XDECREF(self.building)   # the line above took a reference of its own
                self.building = NULL
                self._whole(message)
                if self.ended:
                    return 0
        return 0

    cdef bint _begin_message(self) except -1:
        self.length = ((<size_t>self.prefix[1] << 24) | (<size_t>self.prefix[2] << 16)
                       | (<size_t>self.prefix[3] << 8) | self.prefix[4])
        self.compressed = self.prefix[0] == 1
        if self.prefix[0] > 1:
            self._break_off(CODE_INTERNAL, f"a message has flags {self.prefix[0]}: only 0 and 1 (compressed) are known")
        elif self.length > self.connection.endpoint.max_message:
            self._break_off(
                CODE_RESOURCE_EXHAUSTED,
                f"Received message larger than max ({self.length} vs. {self.connection.endpoint.max_message})")
        elif self.compressed and not can_inflate(text_of(self.encoding)):
            name = text_of(self.encoding).decode("latin-1")
            self._break_off(
                CODE_INTERNAL if name in ("", "identity") else CODE_UNIMPLEMENTED,
                f"Unable to parse request: a message is compressed and grpc-encoding is '{name}'; deflate and gzip are known")
        else:
            return True
        return False

    cdef bint _grow(self, size_t needed) except -1:
        cdef size_t room = TRUSTED_RESERVE if self.reserved <= FIRST_RESERVE else self.reserved * 4
        if room < needed:
            room = needed
        if room > self.length:
            room = self.length
        if not self.charge(room - self.reserved):
            return False
        _PyBytes_Resize(&self.building, room)
        self.reserved = room
        return True

    cdef int _whole(self, bytes message) except -1:
        self.complete = not self.streaming
        if self.compressed or self.inflater is not None:
            if self.inflater is None:
                self.inflater = Inflater(
                    self, text_of(self.encoding), self.connection.endpoint.max_message, self.connection.endpoint.loop)
            self.inflater.add(message, self.compressed)
            return 0
        self._accept(message)
        return 0

    cdef int _accept(self, bytes message) except -1:
        if not self.streaming:
            self.message = message          # counted until the call is over: the request lives as long
            return 0
        if self.inbox is None:
            self.inbox = collections.deque()
        if not self.charge(MESSAGE_BYTES):
            return 0
        self.inbox.append(message)
        self.inbox_bytes += PyBytes_GET_SIZE(message) + MESSAGE_BYTES
        self._wake_receiver()
        return 0

    def inflated(self, bytes message):
        """From the Inflater, which has given its own charge back."""
        if self.ended or self.closed or not self.charge(len(message)):
            return
        self._accept(message)
        if not self.streaming and self.remote_closed and not self.dispatched:
            self.connection._ready(self)

    cdef _request_ended(self):
        self.remote_closed = True
        if self.ended:
            return
        if self.building != NULL or self.prefix_length:
            self._break_off(CODE_INTERNAL, "Unable to parse request: it ended in the middle of a message")
        elif self.streaming:
            self._wake_receiver()
        elif self.message is not None:
            self.connection.ready.append(self)
        elif self.inflater is None:
            self._break_off(CODE_INTERNAL, "Unable to parse request: it has no message")

    cdef _credit(self):
        # A message in progress always gets window, or one larger than the window would never end; untaken ones do not.
        cdef Connection connection = self.connection
        if self.owed and not self.closed and not self.remote_closed and self.inbox_bytes < STREAM_WINDOW:
            nghttp2_session_consume_stream(connection.session, self.id, self.owed)
            self.owed = 0
            connection._later()

    cdef _wake_receiver(self):
        receiver = self.receiver
        if receiver is not None:
            self.receiver = None
            if not receiver.done():
                receiver.set_result(None)
