# What is counted, and in which state a stream is: the ground that reading and writing stand on.

cdef bytes text_of(nghttp2_rcbuf *buffer):
    cdef nghttp2_vec vec
    if buffer == NULL:
        return b""
    vec = nghttp2_rcbuf_get_buf(buffer)
    return PyBytes_FromStringAndSize(<char *>vec.base, vec.len)


cdef class Stream:
    """One HTTP/2 stream: its states, and the bytes it makes the server hold."""
    cdef Connection connection
    cdef int32_t id
    cdef bint streaming                 # or unary
    cdef bint remote_closed, dispatched, started, ended, closed, deferred
    cdef readonly bint cancelled
    cdef size_t charged

    cdef int _break_off(self, int code, text) except -1:
        raise AssertionError("a call knows how to end. This is a bug")

    cdef int _reset(self, uint32_t code) except -1:
        if not self.closed:
            nghttp2_submit_rst_stream(self.connection.session, 0, self.id, code)
            self.connection._later()
        return 0

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
