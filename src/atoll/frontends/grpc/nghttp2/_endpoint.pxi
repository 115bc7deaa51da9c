# What the connections of one transport share. One event loop, one thread, one endpoint.

cdef class Endpoint:
    """The handlers, limits, counters and receive buffer of one transport."""
    cdef object loop, receive_view, header_view, receive_buffer, new_supervisor, emptied
    cdef const uint8_t *received
    cdef dict unary, stream
    cdef size_t max_message, max_metadata, max_buffered, max_connection_buffered
    cdef uint32_t max_streams
    cdef list dirty
    cdef bint scheduled
    cdef size_t _buffered
    cdef readonly Py_ssize_t calls
    cdef readonly set connections

    def __init__(self, loop, unary, stream, limits, new_supervisor):
        self.loop = loop
        self.unary = {path.encode(): handler for path, handler in unary.items()}
        self.stream = {path.encode(): handler for path, handler in stream.items()}
        self.max_message = limits.message
        self.max_metadata = limits.metadata
        self.max_streams = limits.concurrent_streams
        self.max_buffered = limits.buffered
        self.max_connection_buffered = limits.connection_buffered
        self.new_supervisor = new_supervisor
        # The kernel copies into a page-aligned buffer several times faster: it made a fifth of the cost of 600 KB messages.
        self.receive_buffer = bytearray(RECEIVE_BYTES + PAGE_BYTES)
        start = (PAGE_BYTES - <size_t>PyByteArray_AS_STRING(self.receive_buffer) % PAGE_BYTES) % PAGE_BYTES
        self.received = <const uint8_t *>PyByteArray_AS_STRING(self.receive_buffer) + <size_t>start
        self.receive_view = memoryview(self.receive_buffer)[start:start + RECEIVE_BYTES]
        self.header_view = self.receive_view[:HEADER_BYTES]
        self.dirty = []
        self.connections = set()

    @property
    def buffered_bytes(self):
        return self._buffered

    def flush(self):
        """Sends what has been answered since; runs once per turn of the loop, for all connections."""
        cdef Connection connection
        self.scheduled = False
        dirty = self.dirty
        self.dirty = []
        for connection in dirty:
            if connection.dirty:
                connection._flush()

    def when_empty(self, callback):
        """Calls back once when there is no connection any more."""
        self.emptied = callback
        self._look()

    cdef _look(self):
        if not self.connections and self.emptied is not None:
            callback = self.emptied
            self.emptied = None
            callback()
