"""The memory of this process, and of the machine."""

import ctypes
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

    Without it the memory of an unloaded model stays with the process (glibc keeps it for the next allocation).
    """
    trim = _malloc_trim()
    return bool(trim(0)) if trim is not None else False


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # another C library than glibc


@cache
def _page_size() -> int:
    import resource

    return resource.getpagesize()
