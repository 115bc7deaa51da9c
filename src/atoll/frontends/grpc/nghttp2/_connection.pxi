# One connection: bytes in from the loop, calls dispatched, bytes out.

@cython.final
cdef class Connection:
    """An asyncio protocol, buffered where the loop allows it; TLS, if any, is the loop's."""
    cdef nghttp2_session *session
    cdef readonly Endpoint endpoint
    cdef object transport, write, supervisor, peer_text
    cdef dict streams
    cdef list ready, gone, timed, pieces
    cdef char *gathered
    cdef size_t gathered_bytes, gathered_room, piece_bytes
    cdef size_t buffered
    cdef bint paused, stalled, working, sending, blocked, dirty, closing, condemned
    cdef double control_left
    cdef int64_t control_at
    cdef readonly bint settled
    cdef readonly int64_t last_received_ns, idle_since_ns
    cdef readonly Py_ssize_t frames_sent
    cdef size_t payload_left            # of the DATA frame that is being received, where it is a large one
    cdef int32_t payload_stream
    cdef bint large_frames              # the last DATA frame was one
    cdef uint8_t *direct                # where the transport writes now, in place of the endpoint's buffer

    def __cinit__(self, Endpoint endpoint):
        self.endpoint = endpoint
        self.streams = {}
        self.ready = []
        self.gone = []
        self.timed = []
        self.pieces = []
        self.control_left = CONTROL_BURST
        self.control_at = self.last_received_ns = self.idle_since_ns = monotonic_ns()
        self.gathered_room = 16384
        self.gathered = <char *>malloc(self.gathered_room)
        if self.gathered == NULL or nghttp2_session_server_new2(&self.session, CALLBACKS, <void *>self, OPTIONS):
            raise MemoryError

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)
        free(self.gathered)

    # ---- asyncio's side

    def connection_made(self, transport):
        cdef nghttp2_settings_entry settings[4]
        cdef Endpoint endpoint = self.endpoint
        self.transport = transport
        self.write = transport.write
        endpoint.connections.add(self)
        settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        settings[0].value = endpoint.max_streams
        settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[1].value = <uint32_t>STREAM_WINDOW
        settings[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[2].value = <uint32_t>endpoint.max_metadata
        settings[3].settings_id = NGHTTP2_SETTINGS_MAX_FRAME_SIZE
        settings[3].value = <uint32_t>MAX_FRAME
        nghttp2_submit_settings(self.session, 0, settings, 4)
        nghttp2_session_set_local_window_size(self.session, 0, 0, CONNECTION_WINDOW)
        self._flush()
        self.supervisor = endpoint.new_supervisor(self)
        self.supervisor.start()

    def get_buffer(self, hint):
        cdef Call call
        cdef size_t room
        self.direct = NULL
        if not self.large_frames or self.session == NULL or self.condemned:
            return self.endpoint.receive_view
        if self.payload_left == 0:
            return self.endpoint.header_view
        call = call_of(self.session, self.payload_stream)
        if call is None or call.building == NULL or call.ended or call.complete:
            return self.endpoint.receive_view
        room = call.reserved - call.filled
        if room > self.payload_left:
            room = self.payload_left
        if room < DIRECT_BYTES:
            return self.endpoint.receive_view
        self.direct = <uint8_t *>PyBytes_AS_STRING(<object>call.building) + call.filled
        return PyMemoryView_FromMemory(<char *>self.direct, room, PyBUF_WRITE)

    def buffer_updated(self, Py_ssize_t size):
        self._received(<const uint8_t *>self.direct if self.direct != NULL else self.endpoint.received, size)

    def data_received(self, bytes data):
        # asyncio's own loop only calls subclasses of BufferedProtocol by buffer, and an extension type cannot be one
        self._received(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def eof_received(self):
        return False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self._flush()
        if self.stalled and not self.paused and self.transport is not None:
            self.stalled = False
            self.transport.resume_reading()

    def connection_lost(self, error):
        cdef Call call
        if self.supervisor is not None:
            self.supervisor.stop()
        self.endpoint.connections.discard(self)
        for call in list(self.streams.values()):
            self._forget(call)
        self.ready = []
        nghttp2_session_del(self.session)
        self.session = NULL
        self.transport = self.write = None
        self._settle()
        self.endpoint._look()

    # ---- for the supervisor

    @property
    def connected(self):
        return self.session != NULL and self.transport is not None

    @property
    def calls(self):
        return len(self.streams)

    @property
    def peer(self):
        if self.peer_text is None:
            address = self.transport.get_extra_info("peername") if self.transport is not None else None
            if isinstance(address, (str, bytes)):
                self.peer_text = "unix:"    # a client's end has no name
            elif not isinstance(address, tuple):
                return "unknown"
            else:
                host, port = address[:2]
                self.peer_text = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        return self.peer_text

    def drain(self):
        self.supervisor.drain()

    def notice(self):
        """The first GOAWAY of a graceful shutdown: calls that are on their way are still taken."""
        if self.session != NULL:
            nghttp2_submit_shutdown_notice(self.session)
            self._later()

    def goaway(self):
        """The final GOAWAY; the connection closes after the calls in flight."""
        self._goaway(NGHTTP2_NO_ERROR, b"")

    def ping(self, bytes payload):
        """Sends a ping of 8 bytes."""
        if self.session != NULL and len(payload) == 8:
            nghttp2_submit_ping(self.session, 0, <const uint8_t *>PyBytes_AS_STRING(payload))
            self._later()

    def abort(self):
        if self.transport is not None:
            self.transport.abort()

    cdef _goaway(self, uint32_t code, bytes reason):
        if self.session != NULL:
            nghttp2_submit_goaway(
                self.session, 0, nghttp2_session_get_last_proc_stream_id(self.session), code,
                <const uint8_t *>PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason))
            self._later()

    cdef _condemn(self, bytes reason):
        # The client misbehaves: nothing more is taken from it, and it goes once it has been told why.
        if not self.condemned:
            self.condemned = True
            self._goaway(NGHTTP2_ENHANCE_YOUR_CALM, reason)

    cdef bint _control_frame(self):
        # A token bucket over frames that make work and carry nothing.
        cdef int64_t now
        self.control_left -= 1
        if self.control_left < 0:
            now = monotonic_ns()
            self.control_left += (now - self.control_at) * CONTROL_PER_NS
            self.control_at = now
            if self.control_left > CONTROL_BURST:
                self.control_left = CONTROL_BURST
            if self.control_left < 0:
                self._condemn(b"too_many_control_frames")
        return self.condemned

    # ---- in

    cdef _received(self, const uint8_t *data, size_t size):
        cdef ssize_t taken
        if self.session == NULL or self.condemned:
            return
        self.last_received_ns = monotonic_ns()
        self.working = True
        try:
            taken = nghttp2_session_mem_recv(self.session, data, size)
            self._settle()
        finally:
            self.working = False
        self._flush()
        if self.transport is None:
            return
        if taken < 0 or self.condemned:
            self._close()
        elif self.paused and not self.stalled and nghttp2_session_get_outbound_queue_size(self.session) > STALLED_FRAMES:
            self.stalled = True
            self.transport.pause_reading()

    cdef _settle(self):
        cdef Call call
        while self.ready or self.gone or self.timed:
            if self.ready:
                calls = self.ready
                self.ready = []
                for call in calls:
                    if not call.closed and not call.ended:
                        call._dispatch()
            if self.gone:
                calls = self.gone
                self.gone = []
                for call in calls:
                    call._tell_cancelled()
            if self.timed:
                calls = self.timed
                self.timed = []
                for call in calls:
                    if not call.closed:
                        call._arm()

    cdef _ready(self, Call call):
        # Outside of `_received`: a message has been decompressed.
        self.ready.append(call)
        if not self.working:
            self._settle()
            self._later()

    cdef _forget(self, Call call):
        self.streams.pop(call.id, None)
        self.endpoint.calls -= 1
        if not self.streams:
            self.idle_since_ns = monotonic_ns()
        call._close()

    # ---- out

    cdef _later(self):
        cdef Endpoint endpoint = self.endpoint
        if not self.dirty and not self.working and not self.sending:
            self.dirty = True
            endpoint.dirty.append(self)
            if not endpoint.scheduled:
                endpoint.scheduled = True
                endpoint.loop.call_soon(endpoint.flush)

    cdef int _put(self, const void *data, size_t size) except -1:
        cdef char *moved
        cdef size_t room = self.gathered_room
        if self.gathered_bytes + size > room:
            while self.gathered_bytes + size > room:
                room *= 2
            moved = <char *>realloc(self.gathered, room)
            if moved == NULL:
                raise MemoryError
            self.gathered = moved
            self.gathered_room = room
        memcpy(self.gathered + self.gathered_bytes, data, size)
        self.gathered_bytes += size
        return 0

    cdef int _pass_on(self, view, size_t size) except -1:
        if self.gathered_bytes:
            self.pieces.append(PyBytes_FromStringAndSize(self.gathered, self.gathered_bytes))
            self.gathered_bytes = 0
        self.pieces.append(view)
        self.piece_bytes += size
        return 0

    cdef _write_out(self):
        if self.pieces:
            if self.gathered_bytes:
                self.pieces.append(PyBytes_FromStringAndSize(self.gathered, self.gathered_bytes))
            pieces = self.pieces
            self.pieces = []
            self.piece_bytes = self.gathered_bytes = 0
            self.transport.writelines(pieces)
        elif self.gathered_bytes:
            size = self.gathered_bytes
            self.gathered_bytes = 0
            self.write(PyBytes_FromStringAndSize(self.gathered, size))

    cdef _flush(self):
        cdef const uint8_t *data
        cdef ssize_t size
        self.dirty = False
        if self.session == NULL or self.sending or self.transport is None:
            return
        self.sending = True
        while not self.paused:
            self.blocked = False
            size = nghttp2_session_mem_send(self.session, &data)
            if size > 0:
                self._put(data, size)
                if self.gathered_bytes < GATHER_BYTES and self.piece_bytes < PASS_ON_BYTES:
                    continue
            self._write_out()
            if size <= 0 and not self.blocked:
                break
        self.sending = False
        if self.gone:
            self._settle()
        if not self.closing and not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
            self._close()

    cdef _close(self):
        if not self.closing:
            self.closing = True
            self.transport.close()
            if self.supervisor is not None:
                self.supervisor.closing()
