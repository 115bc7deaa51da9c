# One HTTP/2 stream as a gRPC call: what the client said, the handler, and the end.

cdef struct Header:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value


@cython.final
cdef class Call(OutboundStream):
    """Implements `atoll.frontends.grpc.transport.Call` and `StreamCall`."""
    cdef bytes path
    cdef object handler
    # headers stay in nghttp2's buffers until someone asks
    cdef Header few_headers[4]
    cdef Header *headers
    cdef int header_count, header_room
    cdef size_t header_bytes
    cdef bint headers_done
    cdef list decoded
    cdef int64_t deadline
    cdef object task, timer
    cdef list callbacks

    def __cinit__(self):
        self.headers = self.few_headers
        self.header_room = 4

    def __dealloc__(self):
        cdef int i
        for i in range(self.header_count):
            nghttp2_rcbuf_decref(self.headers[i].name)
            nghttp2_rcbuf_decref(self.headers[i].value)
        if self.headers != self.few_headers:
            free(self.headers)

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

    def on_cancel(self, callback):
        if self.cancelled:
            callback()
        elif not self.ended and not self.closed:
            if self.callbacks is None:
                self.callbacks = []
            self.callbacks.append(callback)

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
        except (Exception, asyncio.CancelledError) as error:
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
        if not unanswered:                  # they hold the request, which holds this call
            self.callbacks = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.inflater is not None:
            self.inflater.close()
        if self.deflater is not None:
            self.deflater.close()
        if unanswered or self.task is not None or self.sender is not None:
            self.connection.gone.append(self)
