# What nghttp2 calls, always with the GIL held. None of these runs a handler; an exception in one ends the connection.

cdef nghttp2_session_callbacks *CALLBACKS
cdef nghttp2_option *OPTIONS
cdef nghttp2_nv RESPONSE_HEADERS[3]


cdef inline Call call_of(nghttp2_session *session, int32_t stream):
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream)
    return <Call>found if found != NULL else None


cdef int broken() noexcept:
    _LOG.exception("a gRPC connection is given up. This is a bug")
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    connection.payload_left = 0
    if frame.type == NGHTTP2_DATA:
        connection.large_frames = frame.length > DIRECT_BYTES and not frame.flags & NGHTTP2_FLAG_PADDED
        if connection.large_frames:
            connection.payload_left = frame.length
            connection.payload_stream = frame.stream_id
    return 0


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef Call call
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST or connection.condemned:
        return 0
    try:
        call = Call.__new__(Call)
        call.connection = connection
        call.id = frame.hd.stream_id
        connection.streams[call.id] = call
        connection.endpoint.calls += 1
        nghttp2_session_set_stream_user_data(session, call.id, <void *>call)
        return 0
    except BaseException:
        return broken()


cdef inline bint named(nghttp2_vec *name, const char *expected, size_t length) noexcept:
    return name.len == length and memcmp(name.base, expected, length) == 0


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name_buffer,
                   nghttp2_rcbuf *value_buffer, uint8_t flags, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef nghttp2_vec name, value
    cdef Call call
    if frame.hd.type != NGHTTP2_HEADERS:
        return 0
    try:
        call = call_of(session, frame.hd.stream_id)
        if call is None or call.headers_done:
            return 0
        name = nghttp2_rcbuf_get_buf(name_buffer)
        value = nghttp2_rcbuf_get_buf(value_buffer)
        call.header_bytes += name.len + value.len + 32
        if call.header_bytes > connection.endpoint.max_metadata:
            # the stream is refused when its headers end; much beyond that, nobody means well
            return 0 if call.header_bytes < 64 * connection.endpoint.max_metadata else NGHTTP2_ERR_CALLBACK_FAILURE
        if name.base[0] == c":":
            if named(&name, b":path", 5):
                call.path = PyBytes_FromStringAndSize(<char *>value.base, value.len)
            elif named(&name, b":method", 7) and not named(&value, b"POST", 4):
                call.http_status = 405
        elif named(&name, b"content-type", 12):
            if value.len < 16 or memcmp(value.base, b"application/grpc", 16) != 0:
                call.http_status = 415
        elif named(&name, b"te", 2):
            pass
        elif name.len > 5 and memcmp(name.base, b"grpc-", 5) == 0:
            if named(&name, b"grpc-timeout", 12):
                timeout = parse_timeout(PyBytes_FromStringAndSize(<char *>value.base, value.len))
                if timeout is not None:
                    call.deadline = monotonic_ns() + <int64_t>timeout
            elif named(&name, b"grpc-encoding", 13) and call.encoding == NULL:
                nghttp2_rcbuf_incref(value_buffer)
                call.encoding = value_buffer
            elif named(&name, b"grpc-accept-encoding", 20) and call.accept_encoding == NULL:
                nghttp2_rcbuf_incref(value_buffer)
                call.accept_encoding = value_buffer
        else:
            keep_header(call, name_buffer, value_buffer)
        return 0
    except BaseException:
        return broken()


cdef int keep_header(Call call, nghttp2_rcbuf *name, nghttp2_rcbuf *value) except -1:
    cdef Header *more
    if call.header_count == call.header_room:
        more = <Header *>malloc(call.header_room * 4 * sizeof(Header))
        if more == NULL:
            raise MemoryError
        memcpy(more, call.headers, call.header_count * sizeof(Header))
        if call.headers != call.few_headers:
            free(call.headers)
        call.headers = more
        call.header_room *= 4
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    call.headers[call.header_count].name = name
    call.headers[call.header_count].value = value
    call.header_count += 1
    return 0


cdef int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef Call call
    if connection.condemned:
        return 0
    try:
        if frame.hd.type == NGHTTP2_HEADERS or frame.hd.type == NGHTTP2_DATA:
            call = call_of(session, frame.hd.stream_id)
            if frame.hd.type == NGHTTP2_DATA and frame.hd.length == 0 and not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                connection._control_frame()
            if call is None:
                return 0
            if frame.hd.type == NGHTTP2_HEADERS and not call.headers_done:
                call.headers_done = True
                begin_call(connection, call)
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                call._request_ended()
        elif frame.hd.type == NGHTTP2_PING:
            if frame.hd.flags & NGHTTP2_FLAG_ACK:
                connection.supervisor.ping_acknowledged(PyBytes_FromStringAndSize(<char *>frame.ping.opaque_data, 8))
            elif connection.supervisor.ping_received():
                connection._condemn(b"too_many_pings")
        elif frame.hd.type == NGHTTP2_SETTINGS:
            if not connection.settled:
                connection.settled = True
                connection.supervisor.settled()
            elif not frame.hd.flags & NGHTTP2_FLAG_ACK:
                connection._control_frame()
        elif frame.hd.type == NGHTTP2_RST_STREAM or frame.hd.type == NGHTTP2_PRIORITY:
            connection._control_frame()
        return 0
    except BaseException:
        return broken()


cdef int begin_call(Connection connection, Call call) except -1:
    cdef Endpoint endpoint = connection.endpoint
    if call.deadline:
        connection.timed.append(call)
    if call.header_bytes > endpoint.max_metadata:
        call._break_off(
            CODE_RESOURCE_EXHAUSTED,
            f"received metadata size exceeds hard limit ({call.header_bytes} vs. {endpoint.max_metadata})")
        return 0
    if call.http_status:
        call._break_off(CODE_INTERNAL, "not a gRPC request: POST with content-type application/grpc is expected")
        return 0
    call.handler = endpoint.unary.get(call.path)
    if call.handler is None:
        call.handler = endpoint.stream.get(call.path)
        call.streaming = True
        if call.handler is None:
            call._break_off(CODE_UNIMPLEMENTED, "Method not found!")
        else:
            connection.ready.append(call)
    return 0


cdef int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                 void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef Call call
    try:
        connection.payload_left = connection.payload_left - size if size < connection.payload_left else 0
        nghttp2_session_consume_connection(session, size)
        call = call_of(session, stream)
        if call is not None and not connection.condemned:
            if not call.ended:
                call._feed(data, size)
            call.owed += size
            call._credit()
        return 0
    except BaseException:
        return broken()


cdef int on_stream_closed(nghttp2_session *session, int32_t stream, uint32_t code, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef Call call
    try:
        call = call_of(session, stream)
        if call is not None:
            nghttp2_session_set_stream_user_data(session, stream, NULL)
            connection._forget(call)
        return 0
    except BaseException:
        return broken()


cdef int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Connection connection = <Connection>user
    cdef Call call
    if frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_WINDOW_UPDATE:
        connection.frames_sent += 1
    if frame.hd.type != NGHTTP2_HEADERS:
        return 0
    try:
        connection.frames_sent += 1
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            call = call_of(session, frame.hd.stream_id)
            if call is not None and not call.remote_closed:     # answered early: the client need not send the rest
                nghttp2_submit_rst_stream(session, 0, frame.hd.stream_id, NGHTTP2_NO_ERROR)
        return 0
    except BaseException:
        return broken()


cdef ssize_t data_frame_length(nghttp2_session *session, uint8_t type, int32_t stream, int32_t connection_window,
                               int32_t stream_window, uint32_t max_frame, void *user) noexcept:
    cdef int32_t length = connection_window if connection_window < stream_window else stream_window
    if max_frame > GATHER_BYTES:
        max_frame = GATHER_BYTES
    return length if length < <int32_t>max_frame else <int32_t>max_frame


cdef ssize_t on_read(nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t size, uint32_t *flags,
                     nghttp2_data_source *source, void *user) noexcept:
    cdef Call call = <Call>source.ptr
    if call.out_bytes == 0 and not call.ended:
        call.deferred = True
        return NGHTTP2_ERR_DEFERRED
    if size > call.out_bytes:
        size = call.out_bytes
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if call.ended and size == call.out_bytes:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
        try:
            call._submit_trailers()
        except BaseException:
            return broken()
    return size


cdef int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_header, size_t size,
                      nghttp2_data_source *source, void *user) noexcept:
    cdef Connection connection = <Connection>user
    if connection.gathered_bytes >= GATHER_BYTES or connection.piece_bytes >= PASS_ON_BYTES:
        connection.blocked = True
        return NGHTTP2_ERR_WOULDBLOCK
    try:
        connection._put(frame_header, 9)
        (<Call>source.ptr)._send(size)
        return 0
    except BaseException:
        return broken()


cdef set_up():
    set_nv(&RESPONSE_HEADERS[0], b":status", 7, b"200", 3)
    set_nv(&RESPONSE_HEADERS[1], b"content-type", 12, b"application/grpc", 16)
    set_nv(&RESPONSE_HEADERS[2], b"grpc-accept-encoding", 20, b"identity, deflate, gzip", 23)
    for i in range(3):
        RESPONSE_HEADERS[i].flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE
    if nghttp2_session_callbacks_new(&CALLBACKS) or nghttp2_option_new(&OPTIONS):
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_frame_callback(CALLBACKS, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback2(CALLBACKS, on_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, on_frame_received)
    nghttp2_session_callbacks_set_on_frame_send_callback(CALLBACKS, on_frame_sent)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, on_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, on_stream_closed)
    nghttp2_session_callbacks_set_send_data_callback(CALLBACKS, on_send_data)
    nghttp2_session_callbacks_set_data_source_read_length_callback(CALLBACKS, data_frame_length)
    nghttp2_option_set_no_auto_window_update(OPTIONS, 1)
    nghttp2_option_set_no_closed_streams(OPTIONS, 1)
    nghttp2_option_set_max_settings(OPTIONS, 32)
    nghttp2_option_set_max_outbound_ack(OPTIONS, 1000)
    nghttp2_option_set_max_continuations(OPTIONS, 8)
    nghttp2_option_set_stream_reset_rate_limit(OPTIONS, <uint64_t>CONTROL_BURST, <uint64_t>(CONTROL_PER_NS * 1e9))
    nghttp2_option_set_glitch_rate_limit(OPTIONS, <uint64_t>CONTROL_BURST, <uint64_t>(CONTROL_PER_NS * 1e9))

set_up()
