# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""gRPC's framing over libnghttp2 as an asyncio protocol: what must touch nghttp2, and nothing that has a choice in it.

No handler ever runs inside an nghttp2 callback: the callbacks collect, and `Connection._settle` acts when nghttp2 has returned.
"""
import asyncio
import collections
import logging

cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from atoll.frontends.grpc.nghttp2._libnghttp2 cimport *

from atoll.frontends.grpc.failures import status_of
from atoll.frontends.grpc.metadata import checked, encode_text, from_wire, parse_timeout, to_wire
from atoll.frontends.grpc.nghttp2 import limits as _limits
from atoll.frontends.grpc.nghttp2.compression import Deflater, Inflater, algorithm_for, can_inflate
from atoll.frontends.grpc.transport import PENDING as _PENDING
from atoll.frontends.grpc.transport import Compression as _Compression

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *PyBytes_FromStringAndSize_raw "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec *)
    int CLOCK_MONOTONIC

cdef inline int64_t monotonic_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec

_LOG = logging.getLogger(__name__)

cdef object PENDING = _PENDING
cdef object NO_COMPRESSION = _Compression.NONE
cdef list STATUS_DIGITS = [b"%d" % code for code in range(17)]

cdef size_t STREAM_WINDOW = _limits.STREAM_WINDOW_BYTES
cdef int32_t CONNECTION_WINDOW = _limits.CONNECTION_WINDOW_BYTES
cdef size_t SEND_HIGH_WATER = _limits.SEND_HIGH_WATER_BYTES
cdef double CONTROL_BURST = _limits.CONTROL_BURST
cdef double CONTROL_PER_NS = _limits.CONTROL_PER_SECOND / 1e9

cdef enum:
    RECEIVE_BYTES = 262144
    HEADER_BYTES = 4096         # received between large frames, so that little of the next one is copied
    MAX_FRAME = 1048576
    DIRECT_BYTES = 32768        # from here on the rest of a frame is received where its message is put together
    PAGE_BYTES = 4096
    GATHER_BYTES = 262144       # copied together and handed to the socket at once
    PASS_ON_BYTES = 2097152     # handed to it at once without a copy
    OWN_PIECE_BYTES = 8192      # from here on a part is passed on instead of copied
    FIRST_RESERVE = 1114112     # what a length prefix alone can make us allocate,
    SMALL_RESERVE = 65536       # and from a connection that already makes us hold
    EASY_BYTES = 16777216       # so much
    TRUSTED_RESERVE = 4194304   # what it can once all of that has really come
    MESSAGE_BYTES = 64          # what a queued message weighs beside its bytes
    STALLED_FRAMES = 1000       # control frames waiting for a peer that does not read, before we stop reading too
    CODE_OK = 0
    CODE_DEADLINE_EXCEEDED = 4
    CODE_RESOURCE_EXHAUSTED = 8
    CODE_UNIMPLEMENTED = 12
    CODE_INTERNAL = 13


def library_version():
    """The version of libnghttp2 that is loaded, such as `1.52.0`."""
    return (<bytes>nghttp2_version(0).version_str).decode()


include "_endpoint.pxi"
include "_stream.pxi"
include "_inbound.pxi"
include "_outbound.pxi"
include "_call.pxi"
include "_connection.pxi"
include "_callbacks.pxi"
