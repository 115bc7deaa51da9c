"""System shared memory: a part of an object of /dev/shm, mapped, so that tensors in it are used where they lie.

The client owns the object and may cut it short at any time, and an object with holes needs room when they are first
touched, which /dev/shm may not have: see `_guarded`. Where that extension is not built, the part
is not mapped but read and written by system calls, which a truncation cannot hurt: one copy more.
"""

import os
import stat
from typing import Final

import numpy as np

from atoll.errors import AtollError, InternalError, InvalidArgumentError, UnavailableError
from atoll.protocol.region_requests import SystemRegion
from atoll.tensor import Array, Buffer, DataType, Tensor

try:
    from atoll.frontends.shared_memory._guarded import GuardedMapping
except ImportError:  # no C compiler where this was installed
    GuardedMapping = None  # type: ignore[assignment,misc]

MAPPED: Final = GuardedMapping is not None
DIRECTORY: Final = "/dev/shm"
_MAX_NAME = 255
_SERVERS_OWN = "triton_python_backend_shm_region_"
"""How Triton's Python backend calls what it shares with its processes, and writes pointers into."""


def open_region(wanted: SystemRegion, *, mapped: bool = MAPPED, directory: str = DIRECTORY) -> "_SystemMemory":
    """The region, ready for use. Raises InternalError where there is no such object, InvalidArgumentError where the
    region is not a part of it, in the real server's words.
    """
    fd = _open_object(wanted.key, directory)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _cannot_open(wanted.key, "it is no shared memory object")
        refusal = f"failed to register shared memory region '{wanted.name}': "
        if wanted.byte_size == 0:
            raise InvalidArgumentError(
                f"{refusal}unable to process address spaceInvalid argument: its size is 0, expected 1 byte at least"
            )
        if wanted.offset + wanted.byte_size > found.st_size:
            raise InvalidArgumentError(
                f"{refusal}invalid args: {wanted.byte_size} bytes from byte {wanted.offset} on are more than the "
                f"{found.st_size} bytes of '{wanted.key}'"
            )
        try:
            return MappedMemory(wanted, fd) if mapped else CopiedMemory(wanted, fd)
        except (OSError, MemoryError) as error:
            raise InvalidArgumentError(f"{refusal}unable to process address space: {error}") from None
    finally:
        os.close(fd)


def _open_object(key: str, directory: str) -> int:
    """As shm_open(3): one name in one folder, with any number of slashes in front of it, and no link."""
    name = key.lstrip("/")
    try:
        if not name or "/" in name or name in (".", "..") or len(os.fsencode(name)) > _MAX_NAME:
            raise _cannot_open(key, "expected '/' and a name of at most 255 bytes without another '/'")
        if name.startswith(_SERVERS_OWN):
            raise _cannot_open(key, "it is memory between a server and its models' processes, and no client's")
        return os.open(f"{directory}/{name}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _cannot_open(key, error.strerror or str(error)) from None
    except ValueError:  # a NUL, or text that no file system takes
        raise _cannot_open(key, "it has characters that no name can have") from None


def _cannot_open(key: str, reason: str) -> InternalError:
    return InternalError(f"Unable to open shared memory region: '{key}': {reason}")


class MappedMemory:
    """In the region itself, both ways."""

    def __init__(self, wanted: SystemRegion, fd: int):
        self.name = wanted.name
        self.byte_size = wanted.byte_size
        self._mapping = GuardedMapping(fd, wanted.offset, wanted.byte_size)
        self._read_only = memoryview(self._mapping).toreadonly()
        self._bytes: Array = np.frombuffer(memoryview(self._mapping), np.uint8)

    def read(self, offset: int, byte_size: int) -> Buffer:
        self.check()
        return self._read_only[offset : offset + byte_size]

    def write(self, offset: int, tensor: Tensor, byte_size: int) -> int:
        self.check()
        source = contents(tensor)
        if source.nbytes <= byte_size:
            target = self._bytes[offset : offset + source.nbytes]
            if source.flags.c_contiguous:
                np.copyto(target, source.reshape(-1).view(np.uint8))
            else:
                np.copyto(target.view(source.dtype).reshape(source.shape), source)
        return source.nbytes

    def check(self) -> None:
        if self._mapping.lost:
            raise _cut_short(self.name)


class CopiedMemory:
    """By system calls, into memory of our own and from it."""

    def __init__(self, wanted: SystemRegion, fd: int):
        self.name = wanted.name
        self.byte_size = wanted.byte_size
        self._start = wanted.offset
        self._fd = os.dup(fd)
        self._lost = False

    def __del__(self) -> None:
        fd = getattr(self, "_fd", None)
        if fd is not None:
            os.close(fd)

    def read(self, offset: int, byte_size: int) -> Buffer:
        self.check()
        try:
            data = np.empty(byte_size, np.uint8).data
        except MemoryError:
            raise UnavailableError(f"no memory for a tensor of {byte_size} bytes from region '{self.name}'") from None
        done = 0
        while done < byte_size:
            count = os.preadv(self._fd, [data[done:]], self._start + offset + done)
            if not count:
                raise self._lose()
            done += count
        return data.toreadonly()

    def write(self, offset: int, tensor: Tensor, byte_size: int) -> int:
        self.check()
        source = contents(tensor)
        if source.nbytes <= byte_size:
            data = np.ascontiguousarray(source).reshape(-1).view(np.uint8).data
            end = self._start + offset + source.nbytes
            if os.fstat(self._fd).st_size < end:  # writing would make it longer again
                raise self._lose()
            done = 0
            try:
                while done < source.nbytes:
                    done += os.pwrite(self._fd, data[done:], self._start + offset + done)
            except OSError:  # there is no room
                raise self._lose() from None
        return source.nbytes

    def check(self) -> None:
        if self._lost:
            raise _cut_short(self.name)

    def _lose(self) -> AtollError:
        self._lost = True
        return _cut_short(self.name)


_SystemMemory = MappedMemory | CopiedMemory


def contents(tensor: Tensor) -> Array:
    """An array whose bytes, in row-major order, are the tensor's wire form; no copy where there is one already."""
    if tensor.buffer is None and tensor.datatype is not DataType.BYTES:
        return tensor.array()
    return np.frombuffer(tensor.packed(), np.uint8)


def _cut_short(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"shared memory region '{name}' is not whole any more: its owner has made it shorter than it was registered, "
        f"or {DIRECTORY} is full. Unregister it, mend that, and register it again"
    )
