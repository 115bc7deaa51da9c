# Writing: gRPC messages into DATA frames, and the status behind them.

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


cdef class OutboundStream(InboundStream):
    """`chunks` are buffers, each message's after its prefix; the status goes when they have gone."""
    cdef public object compression
    cdef nghttp2_rcbuf *accept_encoding
    cdef list chunks
    cdef Py_ssize_t chunk
    cdef size_t chunk_at, out_bytes
    cdef object deflater, sender
    cdef bytes status, status_text, response_encoding
    cdef list initial, trailing
    cdef int http_status                # of a refusal below gRPC, or 0

    def __cinit__(self):
        self.compression = NO_COMPRESSION

    def __dealloc__(self):
        if self.accept_encoding != NULL:
            nghttp2_rcbuf_decref(self.accept_encoding)

    # ---- what a handler does

    @property
    def buffered_bytes(self):
        return self.out_bytes + (self.deflater.waiting_bytes if self.deflater is not None else 0)

    def set_initial_metadata(self, items):
        if self.started:
            raise ValueError("the initial metadata has already been sent")
        self.initial = to_wire(checked(items))

    def set_trailing_metadata(self, items):
        self.trailing = to_wire(checked(items))

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
        while self.buffered_bytes > SEND_HIGH_WATER and not self.closed:
            self.sender = self.connection.endpoint.loop.create_future()
            await self.sender
        if self.cancelled:
            raise asyncio.CancelledError

    # ---- into the frames

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
