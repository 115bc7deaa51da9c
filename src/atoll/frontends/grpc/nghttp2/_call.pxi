# One HTTP/2 stream as a gRPC call.

cdef struct Header:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value

cdef bytes text_of(nghttp2_rcbuf *buffer):
    cdef nghttp2_vec vec
    if buffer == NULL:
        return b""
    vec = nghttp2_rcbuf_get_buf(buffer)
    return PyBytes_FromStringAndSize(<char *>vec.base, vec.len)


@cython.final
@cython.freelist(256)
cdef class Call:
    """Implements `atoll.frontends.grpc.transport.Call` and `StreamCall`."""
    cdef Connection connection
    cdef int32_t id
    cdef bytes path
    cdef object handler
    # what the client said; headers stay in nghttp2's buffers until someone asks
    cdef Header few_headers[4]
    cdef Header *headers
    cdef int header_count, header_room
    cdef size_t header_bytes
    cdef nghttp2_rcbuf *encoding
    cdef nghttp2_rcbuf *accept_encoding
    cdef list decoded
    cdef int64_t deadline
    cdef int http_status                # of a refusal below gRPC, or 0
    # states
    cdef bint streaming, headers_done, remote_closed, dispatched, started, ended, closed, deferred
    cdef readonly bint cancelled
    # inbound: a 5-byte prefix, then a body that grows into `building`
    cdef uint8_t prefix[5]
    cdef int prefix_length
    cdef bint compressed
    cdef PyObject *building
    cdef size_t length, filled, reserved
    cdef object message                 # of a unary call
    cdef object inbox                   # of a stream, a deque
    cdef size_t inbox_bytes, owed
    cdef object inflater
    # outbound: buffers, each message after its prefix
    cdef public object compression
    cdef list chunks
    cdef Py_ssize_t chunk
    cdef size_t chunk_at, out_bytes
    cdef object deflater
    cdef bytes status, status_text, response_encoding
    cdef list initial, trailing
    # what is counted against the caps
    cdef size_t charged
    # waiting
    cdef object task, timer, receiver, sender
    cdef list callbacks

    def __cinit__(self):
        self.headers = self.few_headers
        self.header_room = 4
        self.compression = NO_COMPRESSION

    def __dealloc__(self):
        cdef int i
        for i in range(self.header_count):
            nghttp2_rcbuf_decref(self.headers[i].name)
            nghttp2_rcbuf_decref(self.headers[i].value)
        if self.headers != self.few_headers:
            free(self.headers)
        if self.encoding != NULL:
            nghttp2_rcbuf_decref(self.encoding)
        if self.accept_encoding != NULL:
            nghttp2_rcbuf_decref(self.accept_encoding)
        Py_XDECREF(self.building)

    # ---- what a handler asks

    @property
    def method(self):
        return self.path.decode("latin-1")

    @property
    def metadata(self):
        cdef int i
        if self.decoded is None:
            self.decoded = from_wire(
                [(text_of(self.headers[i].name), text_of(self.headers[i].value)) for i in range(self.header_count)])
        return self.decoded

    @property
    def peer(self):
        return self.connection.peer

    @property
    def deadline_ns(self):
        return self.deadline if self.deadline else None

    @property
    def buffered_bytes(self):
        return self.charged - self.inbox_bytes if self.streaming and not self.closed else self.out_bytes

    def on_cancel(self, callback):
        if self.cancelled:
            callback()
        elif not self.ended and not self.closed:
            if self.callbacks is None:
                self.callbacks = []
            self.callbacks.append(callback)

    def set_initial_metadata(self, items):
        if self.started:
            raise ValueError("the initial metadata has already been sent")
        self.initial = to_wire(checked(items))

    def set_trailing_metadata(self, items):
        self.trailing = to_wire(checked(items))

    # ---- what a handler does

    def reply(self, message):
        if not self.ended and not self.closed:
            self._emit(message)
            self._end(CODE_OK, None)
            self.connection._later()

    def fail(self, code, text=""):
        if not self.ended and not self.closed:
            self._end(code, text)
            self.connection._later()

    def write(self, message):
        if not self.ended and not self.closed:
            self._emit(message)
            self.connection._later()

    async def send(self, message):
        self.write(message)
        while self.out_bytes > SEND_HIGH_WATER and not self.closed:
            self.sender = self.connection.endpoint.loop.create_future()
            await self.sender
        if self.cancelled:
            raise asyncio.CancelledError

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            if self.cancelled:
                raise asyncio.CancelledError
            if self.inbox:
                message = self.inbox.popleft()
                self.inbox_bytes -= PyBytes_GET_SIZE(message)
                self.refund(PyBytes_GET_SIZE(message))
                self._credit()
                return message
            if self.remote_closed and (self.inflater is None or not self.inflater.busy):
                raise StopAsyncIteration
            self.receiver = self.connection.endpoint.loop.create_future()
            await self.receiver

    # ---- counting

    cpdef bint charge(self, size_t size):
        """Counts buffered bytes; false, and the call has failed, if that reaches a cap."""
        cdef Connection connection = self.connection
        cdef Endpoint endpoint = connection.endpoint
        if self.closed:
            return False
        if (connection.buffered + size > endpoint.max_connection_buffered
                or endpoint._buffered + size > endpoint.max_buffered):
            self._overflow()
            return False
        self.charged += size
        connection.buffered += size
        endpoint._buffered += size
        return True

    cpdef refund(self, size_t size):
        if size > self.charged:
            size = self.charged
        self.charged -= size
        self.connection.buffered -= size
        self.connection.endpoint._buffered -= size

    cdef _overflow(self):
        cdef Endpoint endpoint = self.connection.endpoint
        if self.ended:
            self._reset(NGHTTP2_ENHANCE_YOUR_CALM)
            return
        whole = endpoint._buffered >= endpoint.max_buffered // 2
        self._break_off(
            CODE_RESOURCE_EXHAUSTED,
            f"the server's gRPC buffers are full ({endpoint._buffered if whole else self.connection.buffered} bytes held for "
            f"{'all connections' if whole else 'this connection'}): send less at once, read responses faster, or raise "
            f"{'max_buffered_bytes' if whole else 'max_connection_buffered_bytes'}")

    # ---- inbound

    cdef int _feed(self, const uint8_t *data, size_t size) except -1:
        cdef size_t part
        while size:
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
                self.reserved = self.length if self.length < FIRST_RESERVE else FIRST_RESERVE
                if not self.charge(self.reserved):
                    return 0
                self.building = PyBytes_FromStringAndSize_raw(NULL, self.reserved)
            part = self.length - self.filled
            if part > size:
                part = size
            if self.filled + part > self.reserved and not self._grow(self.filled + part):
                return 0
            memcpy(PyBytes_AS_STRING(<object>self.building) + self.filled, data, part)
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
            self._break_off(
                CODE_UNIMPLEMENTED,
                f"a message is compressed and grpc-encoding is '{text_of(self.encoding).decode('latin-1')}': "
                "identity, deflate and gzip are known")
        elif not self.streaming and (self.message is not None or self.inflater is not None):
            self._break_off(CODE_UNIMPLEMENTED, "a unary call has more than one request message")
        else:
            # an empty message is complete with its prefix
            if self.length == 0:
                self._whole(b"")
                return False
            return True
        return False

    cdef bint _grow(self, size_t needed) except -1:
        cdef size_t room = TRUSTED_RESERVE if self.reserved <= FIRST_RESERVE else self.reserved * 2
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
        self.inbox.append(message)
        self.inbox_bytes += PyBytes_GET_SIZE(message)
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
            self._break_off(CODE_INTERNAL, "the request ended in the middle of a message")
        elif self.streaming:
            self._wake_receiver()
        elif self.message is not None:
            self.connection.ready.append(self)
        elif self.inflater is None:
            self._break_off(CODE_INTERNAL, "the request has no message")

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

    # ---- running the handler

    cdef _dispatch(self):
        self.dispatched = True
        try:
            if self.streaming:
                result = self.handler(self)
            else:
                message = self.message
                self.message = None
                result = self.handler(self, message)
                if result is PENDING:
                    return
                if type(result) is bytes or type(result) is list or type(result) is tuple:
                    if not self.ended and not self.closed:
                        self._emit(result)
                        self._end(CODE_OK, None)
                    return
            if self.closed:                 # cancelled by what the handler itself did
                if asyncio.iscoroutine(result):
                    result.close()
                return
            self.task = asyncio.ensure_future(result, loop=self.connection.endpoint.loop)
            self.task.add_done_callback(self._done)
        except Exception as error:
            self._failed(error)

    cdef _failed(self, error):
        if not self.ended and not self.closed:
            code, text = status_of(error, self.method)
            self._end(code, text)

    def _done(self, task):
        self.task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.ended or self.closed:
            return
        try:
            if error is not None:
                self._failed(error)
            else:
                if not self.streaming:
                    self._emit(task.result())
                self._end(CODE_OK, None)
        except Exception as unusable:
            self._failed(unusable)
        self.connection._later()

    cdef _arm(self):
        cdef int64_t left = self.deadline - monotonic_ns()
        if not self.closed:
            self.timer = self.connection.endpoint.loop.call_later(left / 1e9 if left > 0 else 0, self._deadline_passed)

    def _deadline_passed(self):
        self.timer = None
        if self.closed:
            return
        if self.ended:                      # answered in time, and the client does not read the answer
            self._reset(NGHTTP2_CANCEL)
        else:
            self._break_off(CODE_DEADLINE_EXCEEDED, "Deadline Exceeded")
            self._tell_cancelled()
        self.connection._later()

    cdef _tell_cancelled(self):
        self.cancelled = True
        callbacks = self.callbacks
        self.callbacks = None
        if callbacks is not None:
            for callback in callbacks:
                try:
                    callback()
                except Exception:
                    _LOG.exception("a cancellation callback of %s raised", self.method)
        for waiter in (self.receiver, self.sender, self.task):
            if waiter is not None and not waiter.done():
                waiter.cancel()
        self.receiver = self.sender = None

    # ---- outbound

    cdef int _emit(self, message) except -1:
        cdef size_t size = 0
        cdef list parts
        if type(message) is bytes:
            size = PyBytes_GET_SIZE(message)
            if self.deflater is None and self.compression is NO_COMPRESSION:
                if self.charge(size + 5):
                    self._enqueue_prefix(False, size)
                    if size:
                        self.chunks.append(message)
                    self._begin_response()
                return 0
            parts = [message]
        else:
            parts = []
            for part in message:
                if type(part) is not bytes:
                    part = memoryview(part).cast("B")
                if len(part):
                    parts.append(part)
                    size += len(part)
        if self.deflater is None and self.compression is not NO_COMPRESSION and not self.started:
            self.response_encoding = algorithm_for(self.compression, text_of(self.accept_encoding))
            if self.response_encoding is not None:
                self.deflater = Deflater(self, self.response_encoding, self.connection.endpoint.loop)
        if self.deflater is None:
            self.push(parts, False)
        elif self.charge(size):
            self.deflater.write(parts)
        return 0

    def push(self, parts, bint compressed):
        """Queues one message as it is to be sent; from the Deflater, which has given its own charge back."""
        cdef size_t size = 0
        if self.closed or self.ended:
            return
        for part in parts:
            size += len(part)
        if size > 0xffffffff:
            raise ValueError(f"a gRPC message can have at most 4294967295 bytes, not {size}")
        if self.charge(size + 5):
            self._enqueue_prefix(compressed, size)
            self.chunks.extend(parts)
            self._begin_response()
            self.connection._later()

    cdef int _enqueue_prefix(self, bint compressed, size_t size) except -1:
        cdef uint8_t prefix[5]
        prefix[0] = compressed
        prefix[1] = (size >> 24) & 255
        prefix[2] = (size >> 16) & 255
        prefix[3] = (size >> 8) & 255
        prefix[4] = size & 255
        if self.chunks is None:
            self.chunks = []
        self.chunks.append(PyBytes_FromStringAndSize(<char *>prefix, 5))
        self.out_bytes += size + 5
        return 0

    cdef int _begin_response(self) except -1:
        cdef nghttp2_data_provider provider
        if not self.started:
            self.started = True
            provider.source.ptr = <void *>self
            provider.read_callback = on_read
            extra = self.initial
            if self.response_encoding is not None:
                extra = [(b"grpc-encoding", self.response_encoding), *(extra or ())]
            submit_response(self.connection.session, self.id, RESPONSE_HEADERS, 3, extra, &provider)
        elif self.deferred:
            self.deferred = False
            nghttp2_session_resume_data(self.connection.session, self.id)
        return 0

    cdef int _end(self, code, text) except -1:
        # The call's own end: what was written before goes first.
        if self.ended or self.closed:
            return 0
        if self.deflater is not None:
            deflater = self.deflater
            self.deflater = None
            deflater.finish(code, text or "")
            return 0
        self._set_status(code, text)
        if self.started:
            if self.deferred:
                self.deferred = False
                nghttp2_session_resume_data(self.connection.session, self.id)
        elif self.initial is not None:
            self._begin_response()
        else:
            self._refuse()
        return 0

    def finish(self, code, text):
        """From the Inflater and Deflater: the end, whatever is still in the call's hands."""
        if not self.ended and not self.closed:
            self.deflater = None
            self._end(code, text)
            self.connection._later()

    cdef int _break_off(self, int code, text) except -1:
        # An end from outside: what was written and cannot be sent any more is dropped.
        if self.closed or self.ended:
            return 0
        if self.deflater is not None:
            self.deflater.close()
            self.deflater = None
        if self.out_bytes:
            self._set_status(code, text)
            self._reset(NGHTTP2_ENHANCE_YOUR_CALM if code == CODE_RESOURCE_EXHAUSTED else NGHTTP2_CANCEL)
        else:
            self._end(code, text)
        if self.dispatched and code != CODE_DEADLINE_EXCEEDED:
            self.connection.gone.append(self)
        self.connection._later()
        return 0

    cdef int _set_status(self, code, text) except -1:
        self.status = STATUS_DIGITS[code]
        self.status_text = encode_text(text) if text else None
        self.ended = True

    cdef _refuse(self):
        # Trailers only: the status is the whole response.
        cdef nghttp2_nv headers[4]
        cdef int count = 3
        cdef bytes digits
        memcpy(headers, RESPONSE_HEADERS, 2 * sizeof(nghttp2_nv))
        if self.http_status:
            digits = b"%d" % self.http_status
            set_nv(&headers[0], b":status", 7, PyBytes_AS_STRING(digits), 3)
        set_nv(&headers[2], b"grpc-status", 11, PyBytes_AS_STRING(self.status), PyBytes_GET_SIZE(self.status))
        if self.status_text is not None:
            set_nv(&headers[3], b"grpc-message", 12,
                   PyBytes_AS_STRING(self.status_text), PyBytes_GET_SIZE(self.status_text))
            count = 4
        submit_response(self.connection.session, self.id, headers, count, self.trailing, NULL)

    cdef int _submit_trailers(self) except -1:
        cdef nghttp2_nv trailers[2]
        set_nv(&trailers[0], b"grpc-status", 11, PyBytes_AS_STRING(self.status), PyBytes_GET_SIZE(self.status))
        if self.status_text is not None:
            set_nv(&trailers[1], b"grpc-message", 12,
                   PyBytes_AS_STRING(self.status_text), PyBytes_GET_SIZE(self.status_text))
        submit_response(
            self.connection.session, self.id, trailers, 2 if self.status_text is not None else 1, self.trailing, NULL, True)
        return 0

    cdef _reset(self, uint32_t code):
        if not self.closed:
            nghttp2_submit_rst_stream(self.connection.session, 0, self.id, code)
            self.connection._later()

    cdef int _send(self, size_t size) except -1:
        # The next bytes of the outbox into the connection's gathering; large parts are passed on, not copied.
        cdef Connection connection = self.connection
        cdef size_t part, length
        cdef const uint8_t[::1] view
        self.out_bytes -= size
        self.refund(size)
        while size:
            chunk = self.chunks[self.chunk]
            length = PyBytes_GET_SIZE(chunk) if type(chunk) is bytes else len(chunk)
            part = length - self.chunk_at
            if part > size:
                part = size
            if part >= OWN_PIECE_BYTES:
                connection._pass_on(memoryview(chunk)[self.chunk_at:self.chunk_at + part], part)
            elif type(chunk) is bytes:
                connection._put(PyBytes_AS_STRING(chunk) + self.chunk_at, part)
            else:
                view = chunk
                connection._put(&view[self.chunk_at], part)
            size -= part
            self.chunk_at += part
            if self.chunk_at == length:
                self.chunk_at = 0
                self.chunks[self.chunk] = None
                self.chunk += 1
        if self.out_bytes == 0 or self.chunk > 256:
            del self.chunks[:self.chunk]
            self.chunk = 0
        if self.sender is not None and self.out_bytes <= SEND_HIGH_WATER:
            sender = self.sender
            self.sender = None
            if not sender.done():
                sender.set_result(None)
        return 0

    # ---- the end of the stream

    cdef _close(self):
        # From nghttp2's callback: everything is counted back here; who is to be told is told in Connection._settle.
        cdef bint unanswered = not self.ended
        if self.closed:
            return
        self.refund(self.charged)
        self.closed = True
        if unanswered or self.out_bytes:
            self.cancelled = True
        self.chunks = self.message = self.inbox = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.inflater is not None:
            self.inflater.close()
        if self.deflater is not None:
            self.deflater.close()
        if unanswered or self.task is not None or self.sender is not None:
            self.connection.gone.append(self)


cdef inline void set_nv(nghttp2_nv *header, const char *name, size_t name_length, const char *value, size_t length) noexcept:
    # names are literals of ours; values may go away before the frame is packed
    header.name = <uint8_t *>name
    header.namelen = name_length
    header.value = <uint8_t *>value
    header.valuelen = length
    header.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME


cdef int submit_response(nghttp2_session *session, int32_t stream, nghttp2_nv *fixed, size_t count, list extra,
                         nghttp2_data_provider *provider, bint trailers=False) except -1:
    cdef nghttp2_nv *headers = fixed
    cdef size_t i
    cdef bytes name, value
    if extra:
        headers = <nghttp2_nv *>malloc((count + len(extra)) * sizeof(nghttp2_nv))
        if headers == NULL:
            raise MemoryError
        memcpy(headers, fixed, count * sizeof(nghttp2_nv))
        for name, value in extra:
            set_nv(&headers[count], PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                   PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            headers[count].flags = NGHTTP2_NV_FLAG_NONE
            count += 1
    if trailers:
        nghttp2_submit_trailer(session, stream, headers, count)
    else:
        nghttp2_submit_response(session, stream, headers, count, provider)
    if headers != fixed:
        free(headers)
    return 0
