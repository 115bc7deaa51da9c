"""Shared memory objects for the tests, each with a name of its own that is gone at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from atoll.protocol.region_requests import SystemRegion

_numbers = count()


class SharedObject:
    """A file of /dev/shm, as a client has it."""

    def __init__(self, byte_size: int):
        self.key = f"/atoll_test_{os.getpid()}_{next(_numbers)}"
        self.path = Path("/dev/shm" + self.key)
        self.path.write_bytes(bytes(byte_size))

    def region(self, name: str = "r", offset: int = 0, byte_size: int | None = None) -> SystemRegion:
        size = self.path.stat().st_size - offset if byte_size is None else byte_size
        return SystemRegion(name, self.key, offset, size)

    def fill(self, data: bytes, offset: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def bytes(self) -> bytes:
        return self.path.read_bytes()

    def truncate(self, byte_size: int) -> None:
        os.truncate(self.path, byte_size)


@contextmanager
def shared_object(byte_size: int = 8192) -> Iterator[SharedObject]:
    made = SharedObject(byte_size)
    try:
        yield made
    finally:
        made.path.unlink(missing_ok=True)
