"""What a child process may use of the machine.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import resource


def limit_memory(byte_size: int) -> None:
    """Let the calling process have so many bytes of memory of its own, and no more; 0 changes nothing.

    RLIMIT_DATA counts the heap and all private, writable memory, threads' stacks included, from the moment that it is
    reserved. It counts no code, no files that are mapped, and no shared memory, so neither a tensor that the server
    sends nor a CUDA driver's reserved addresses. Asking for more fails: Python raises MemoryError, C++ std::bad_alloc,
    malloc gives NULL. Raises ValueError where the process has a lower limit already that it may not raise.
    """
    if byte_size <= 0:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY and hard < byte_size:
        raise ValueError(f"a memory limit of {byte_size} bytes: this process may have {hard} at most (ulimit -d)")
    resource.setrlimit(resource.RLIMIT_DATA, (byte_size, byte_size))


def byte_count(value: int) -> str:
    """A number of bytes as a person says it: "512 MiB"."""
    size = float(value)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
