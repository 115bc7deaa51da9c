"""The memory of this process, and of the machine."""

import ctypes
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any


def resident_bytes(proc: Path = Path("/proc")) -> int:
    """What this process has in memory now; 0 where the system has no /proc. See proc_pid_statm(5)."""
    try:
        pages = int((proc / "self" / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * _page_size()


def allocated_bytes() -> int:
    """What this process has allocated from the C library and not freed; 0 where that does not say (glibc 2.33 does).

    Unlike the resident size it does not see memory that was freed and is kept for the next allocation, nor memory that
    was mapped in other ways.
    """
    mallinfo = _mallinfo()
    if mallinfo is None:
        return 0
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


class _MallInfo2(ctypes.Structure):
    """See mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@cache
def _mallinfo() -> Any:
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    function.restype = _MallInfo2
    return function


class Growth:
    """By how much this process grows from now on."""

    def __init__(self) -> None:
        give_back_freed()  # what is left of earlier loads must not be taken for room that the next one needs
        self._resident = resident_bytes()
        self._allocated = allocated_bytes()

    def measure(self) -> int:
        """Bytes until now: resident or allocated, whichever is more, because each misses something."""
        give_back_freed()
        return max(resident_bytes() - self._resident, allocated_bytes() - self._allocated, 0)


def machine_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The memory that this machine, or the container that this process is in, has; 0 where the system does not say."""
    sizes = []
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        sizes += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    except (OSError, IndexError, ValueError):
        pass
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, version 2 and 1
        try:
            sizes.append(int((cgroup / name).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes, default=0)


def give_back_freed() -> bool:
    """Return what the C library keeps of freed memory to the system; whether something was returned.

    Without it the memory of an unloaded model stays with the process (glibc keeps it for the next allocation). What is
    free at the end of another thread's arena stays still: see ArenaHold.
    """
    functions = _allocation()
    return bool(functions.malloc_trim(0)) if functions is not None else False


class ArenaHold:
    """A block of memory, through which what is freed beside it goes back to the system, whoever frees it.

    glibc gives each thread an arena. malloc_trim(3) returns the free memory inside all of them, but not that at the end
    of one, up to 64 MiB, unless it is the first thread's. That end is returned only when a block of 64 KiB or more is
    freed there, and M_TRIM_THRESHOLD allows it. So whoever allocates much that another thread will free makes one of
    these first, in the same thread, and calls `release` after it is freed.
    """

    def __init__(self) -> None:
        self._free: weakref.finalize[[int], ArenaHold] | None = None
        self._take()

    def _take(self) -> None:
        functions = _allocation()
        if functions is None:
            return
        block = functions.malloc(_HOLD_BYTES)
        if block:
            self._free = weakref.finalize(self, functions.free, block)
            self._free.atexit = False

    def renew(self) -> None:
        """Return what is free now, and hold on. In the thread that made this."""
        self.release()
        self._take()

    def release(self) -> None:
        """Return what is free now. From any thread; calling it again does nothing more."""
        give_back_freed()  # first, because it also joins free pieces to those at the end
        if self._free is not None:
            with _trimming_all():
                self._free()
            give_back_freed()  # what the arena's end has left to the pieces before it


# More than the 64 KiB at which free(3) looks at the end of the arena (FASTBIN_CONSOLIDATION_THRESHOLD in glibc's
# malloc.c), and less than M_MMAP_THRESHOLD's default of 128 KiB, from which on a block is in no arena.
_HOLD_BYTES = 96 << 10

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_TRIM_ALL_BYTES = 128 << 10  # glibc's own M_TRIM_THRESHOLD

_kept_bytes = 0  # what `keep_freed_memory` set
_threshold_lock = threading.Lock()


def keep_freed_memory(limit_bytes: int) -> bool:
    """Let glibc keep freed blocks below this size instead of giving each back to the system; True when it agreed.

    Otherwise every large tensor is mapped, page by page, on each request: docs/decisions/003 has the figures. Does
    nothing where the C library is another, or for 0. To be called before threads exist, and never in somebody else's
    process.
    """
    global _kept_bytes
    functions = _allocation()
    if limit_bytes <= 0 or functions is None:
        return False
    limit = min(limit_bytes, 2**31 - 1)
    agreed = bool(functions.mallopt(M_MMAP_THRESHOLD, limit)) and bool(functions.mallopt(M_TRIM_THRESHOLD, limit))
    if agreed:
        _kept_bytes = limit
    return agreed


@contextmanager
def _trimming_all() -> Iterator[None]:
    """Free memory is not kept meanwhile, if `keep_freed_memory` said so. Other threads' requests are slower then."""
    functions = _allocation()
    if functions is None or not _kept_bytes:
        yield  # the thresholds are somebody else's
        return
    with _threshold_lock:
        functions.mallopt(M_TRIM_THRESHOLD, _TRIM_ALL_BYTES)
        try:
            yield
        finally:
            functions.mallopt(M_TRIM_THRESHOLD, _kept_bytes)


@cache
def _allocation() -> Any:
    """The C library, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return library


@cache
def _page_size() -> int:
    import resource

    return resource.getpagesize()
