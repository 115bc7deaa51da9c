"""Files in memory that two processes map: named ones in /dev/shm, else nameless ones, else none.

A file's pages are claimed when it is made: what does not fit is refused then, and never as a bus error later. Its name
carries its owner's pid and start time, and is gone again before anything is written: a process that is killed leaves
nothing behind, or, in the one moment between, a name that `sweep` knows to be nobody's.

Child processes import this module too: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from atoll.devices.proc_stat import read_stat

logger = logging.getLogger(__name__)

DIRECTORY = "/dev/shm"
MAX_PREFIX = 200  # bytes; a file's name has at most 255, and a nameless file's 249
_OWNER = re.compile(r"([0-9]{1,10})_([0-9]{1,20})_[0-9]{1,20}")

_numbers = count()
_said: set[str] = set()  # what this process's log says once


@dataclass(frozen=True, slots=True)
class SharedFile:
    """An open file of `byte_size` bytes, all of them claimed. Who holds the record closes `fd`.

    `kind` is "shm" for a file of /dev/shm, "memfd" for one of no file system.
    """

    fd: int
    byte_size: int
    kind: str


def create_shared_file(
    byte_size: int,
    prefix: str,
    *,
    directory: str = DIRECTORY,
    on_fallback: Callable[[str], None] | None = None,
) -> SharedFile | None:
    """A new file of so many bytes, zeroed; None where the system has no such memory, and tensors travel otherwise.

    The first time in this process that `directory` cannot hold one, and the first time that nothing can, `on_fallback`
    is told in a sentence; without it, the log is. Raises ValueError for a size below 1, and for a prefix that is longer
    than 200 bytes or names another directory.
    """
    if byte_size < 1:
        raise ValueError(f"a shared file of {byte_size} bytes: expected 1 at least")
    check_prefix(prefix)
    name = f"{prefix}{os.getpid()}_{_own_start_time()}_{next(_numbers)}"
    try:
        return SharedFile(_claimed(_open_named(directory, name), byte_size), byte_size, "shm")
    except OSError as error:
        refusal = f"{directory} cannot hold {byte_size} bytes more ({_room(directory, error)})"
    try:
        file = SharedFile(_claimed(_open_nameless(name), byte_size), byte_size, "memfd")
    except (OSError, AttributeError) as error:  # an old kernel or C library has no memfd_create
        _say(
            "none",
            f"{refusal}, and a file in memory is refused too ({error}): tensors to and from child processes travel "
            "through sockets, which is slower",
            on_fallback,
        )
        return None
    _say(
        "memfd",
        f"{refusal}: memory shared with child processes lies in files without a name instead, which that file system's "
        "size does not bound",
        on_fallback,
    )
    return file


def check_prefix(prefix: str) -> None:
    """Raises ValueError for a prefix of region names that no file of one directory can have."""
    if "/" in prefix or "\0" in prefix or len(os.fsencode(prefix)) > MAX_PREFIX:
        raise ValueError(
            f"shared memory region prefix {prefix!r}: expected at most {MAX_PREFIX} bytes without '/' and NUL"
        )


def sweep(prefix: str, directory: str = DIRECTORY) -> list[str]:
    """Remove files of this prefix whose owners are dead; their names. Those of living processes stay, as does whatever
    else has the prefix. Never raises for what the file system says.
    """
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    removed = []
    for name in sorted(names):
        owner = _OWNER.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if owner is None or _lives(int(owner[1]), int(owner[2])):
            continue
        with suppress(OSError):
            os.unlink(os.path.join(directory, name))
            removed.append(name)
    return removed


# ---- making one


def _open_named(directory: str, name: str) -> int:
    path = os.path.join(directory, name)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with suppress(FileNotFoundError):  # another pid namespace's sweep takes our pid for a dead one's
        os.unlink(path)
    return fd


def _open_nameless(name: str) -> int:
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _claimed(fd: int, byte_size: int) -> int:
    """The same descriptor, with memory behind every byte; closes it where there is not so much."""
    try:
        os.posix_fallocate(fd, 0, byte_size)
        with suppress(OSError):  # files of a file system cannot be sealed
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _room(directory: str, error: OSError) -> str:
    if error.errno != errno.ENOSPC:
        return str(error.strerror)
    try:
        status = os.statvfs(directory)
    except OSError:
        return str(error.strerror)
    return f"it has {status.f_blocks * status.f_frsize} bytes, of which {status.f_bavail * status.f_frsize} are free"


def _say(kind: str, text: str, on_fallback: Callable[[str], None] | None) -> None:
    if kind in _said:
        return
    _said.add(kind)
    if on_fallback is not None:
        on_fallback(text)
    else:
        logger.warning("%s", text)


# ---- owners


_own: tuple[int, int] = (0, 0)


def _own_start_time() -> int:
    global _own
    pid = os.getpid()
    if _own[0] != pid:  # also after a fork
        found = read_stat(pid)
        _own = (pid, found.start if found is not None else 0)  # without /proc, `sweep` knows no start times either
    return _own[1]


def _lives(pid: int, start_time: int) -> bool:
    """Whether that very process runs, or nobody can tell."""
    found = read_stat(pid)
    if found is None:
        return not os.path.exists("/proc/self/stat")
    return found.state not in ("Z", "X") and start_time in (0, found.start)
