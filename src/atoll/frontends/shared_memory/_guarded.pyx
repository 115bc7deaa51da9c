# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Files mapped so that whoever cuts one short does no harm: the kernel's SIGBUS is met by pages of zeros.

A client owns the file and may truncate it at any moment, in the midst of a copy of ours; and where a file has holes and
its file system is full, there is nothing behind them. The kernel then sends SIGBUS to the thread that touches it, which would be the end of the process. Here a handler maps private zeros over the
rest of the mapping, marks it as lost, and the thread goes on; what it has read is refused afterwards. Faults anywhere
else go to whoever handled them before.
"""
import os

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stddef cimport size_t

cdef extern from *:
    """
    #include <errno.h>
    #include <signal.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <unistd.h>

    #define ATOLL_SLOTS 16384 /* mappings at a time: of regions, and of those that are not registered any more but in use */

    /* One mapping. `start` is written last when a slot is taken, and cleared first when it is given back: a handler that
       finds the same start before and after it has read the end has read both of one mapping. */
    static struct { uintptr_t start, end; int lost; } atoll_slots[ATOLL_SLOTS];
    static int atoll_used; /* slots up to here have been taken at some time */
    static struct sigaction atoll_before;
    static volatile sig_atomic_t atoll_raised;
    static uintptr_t atoll_page;

    static void atoll_on_bus_error(int number, siginfo_t *info, void *context) {
        int kept = errno;
        if (info->si_code > 0) { /* of a fault, not sent by anybody */
            uintptr_t at = (uintptr_t)info->si_addr;
            int used = __atomic_load_n(&atoll_used, __ATOMIC_ACQUIRE);
            for (int slot = 0; slot < used; slot++) {
                uintptr_t start = __atomic_load_n(&atoll_slots[slot].start, __ATOMIC_ACQUIRE);
                if (start == 0 || at < start)
                    continue;
                uintptr_t end = __atomic_load_n(&atoll_slots[slot].end, __ATOMIC_ACQUIRE);
                if (at >= end || start != __atomic_load_n(&atoll_slots[slot].start, __ATOMIC_ACQUIRE))
                    continue;
                uintptr_t page = at & ~(atoll_page - 1);
                void *zeros = mmap((void *)page, end - page, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
                if (zeros == MAP_FAILED)
                    break;
                __atomic_store_n(&atoll_slots[slot].lost, 1, __ATOMIC_RELEASE);
                errno = kept;
                return;
            }
        } else if (atoll_raised) { /* whoever was before us has raised it again, to end the process */
            signal(SIGBUS, SIG_DFL);
            raise(SIGBUS);
            return;
        } else {
            atoll_raised = 1;
        }
        if (atoll_before.sa_flags & SA_SIGINFO) {
            atoll_before.sa_sigaction(number, info, context);
        } else if (atoll_before.sa_handler != SIG_DFL && atoll_before.sa_handler != SIG_IGN) {
            atoll_before.sa_handler(number);
        } else if (atoll_before.sa_handler == SIG_DFL || info->si_code > 0) {
            signal(SIGBUS, SIG_DFL); /* the fault comes again when this returns; a signal that was sent does not */
            if (info->si_code <= 0)
                raise(SIGBUS);
        }
        errno = kept;
    }

    /* The handler is (again) the process's own; 0, or -1 with errno. */
    static int atoll_install(void) {
        struct sigaction now, ours;
        atoll_page = (uintptr_t)sysconf(_SC_PAGESIZE);
        if (sigaction(SIGBUS, NULL, &now))
            return -1;
        if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == atoll_on_bus_error)
            return 0;
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = atoll_on_bus_error;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        sigemptyset(&ours.sa_mask);
        atoll_before = now; /* before the handler can run */
        return sigaction(SIGBUS, &ours, NULL);
    }

    /* A free slot for a mapping, or -1; under the interpreter's lock, as is its end. */
    static int atoll_guard(uintptr_t start, uintptr_t end) {
        int slot = 0;
        while (slot < atoll_used && atoll_slots[slot].start != 0)
            slot++;
        if (slot == ATOLL_SLOTS)
            return -1;
        atoll_slots[slot].lost = 0;
        __atomic_store_n(&atoll_slots[slot].end, end, __ATOMIC_RELEASE);
        __atomic_store_n(&atoll_slots[slot].start, start, __ATOMIC_RELEASE);
        if (slot == atoll_used)
            __atomic_store_n(&atoll_used, slot + 1, __ATOMIC_RELEASE);
        return slot;
    }

    static void atoll_unguard(int slot) { __atomic_store_n(&atoll_slots[slot].start, (uintptr_t)0, __ATOMIC_RELEASE); }
    static int atoll_lost(int slot) { return __atomic_load_n(&atoll_slots[slot].lost, __ATOMIC_ACQUIRE); }
    """
    ctypedef unsigned long uintptr_t
    ctypedef long off_t
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void *mmap(void *, size_t, int, int, int, off_t)
    int munmap(void *, size_t)
    int atoll_install()
    int atoll_guard(uintptr_t, uintptr_t)
    void atoll_unguard(int)
    int atoll_lost(int)

cdef extern from "errno.h":
    int errno

cdef size_t PAGE = os.sysconf("SC_PAGESIZE")


cdef class GuardedMapping:
    """`byte_size` bytes of an open file from `offset` on, as a writable buffer. It is unmapped when the last view of it
    has died; the descriptor is not needed any more once this is made.

    Raises OSError where the system does not map it. Whether the file holds so many bytes is for the caller to ask.
    """

    cdef void *_address
    cdef size_t _length
    cdef size_t _skipped  # from the page's beginning to the offset
    cdef Py_ssize_t _byte_size
    cdef int _slot

    def __cinit__(self, int fd, size_t offset, Py_ssize_t byte_size):
        self._address = NULL
        self._slot = -1
        if byte_size <= 0:
            raise ValueError(f"a mapping of {byte_size} bytes: expected 1 at least")
        if atoll_install():
            raise OSError(errno, os.strerror(errno))
        self._skipped = offset % PAGE
        self._byte_size = byte_size
        self._length = (self._skipped + <size_t>byte_size + PAGE - 1) // PAGE * PAGE
        cdef void *address = mmap(
            NULL, self._length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, <off_t>(offset - self._skipped)
        )
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self._address = address
        self._slot = atoll_guard(<uintptr_t>address, <uintptr_t>address + self._length)
        if self._slot < 0:
            raise OSError(errno, "too many mappings are in use")

    def __dealloc__(self):
        if self._slot >= 0:
            atoll_unguard(self._slot)
        if self._address != NULL:
            munmap(self._address, self._length)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <char *>self._address + self._skipped, self._byte_size, 0, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        pass

    def __len__(self):
        return self._byte_size

    @property
    def lost(self):
        """Whether a part of it was found gone: the file was truncated. What is read there is zeros from then on."""
        return atoll_lost(self._slot) != 0
