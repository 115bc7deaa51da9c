"""A request's body of known length while it comes in: memory for what has come, not for what was claimed."""

from typing import Final

import numpy as np

from atoll.frontends.http.limits import MIB
from atoll.frontends.listening.buffering import BufferShare

FIRST_ALLOCATION = 1 * MIB
GROWTH = 4

NOTHING: Final = memoryview(b"")


class SizedBody:
    """Collects `length` bytes; `share` holds as many of the port's budget as memory is allocated."""

    __slots__ = ("_share", "filled", "length", "memory")

    def __init__(self, length: int, share: BufferShare):
        self.length = length
        self.filled = 0
        self.memory = NOTHING
        self._share = share

    def begin(self, data: memoryview) -> bool:
        """The part that came with the head; False where there is no room for it."""
        size = min(self.length, max(FIRST_ALLOCATION, len(data)))
        if not self._share.reach(size):
            return False
        self.memory = np.empty(size, np.uint8).data
        self.memory[: len(data)] = data
        self.filled = len(data)
        return True

    def room(self) -> memoryview | None:
        """Where the next bytes go: more only once all that is allocated has really come. None: there is none left."""
        if self.filled == len(self.memory):
            size = min(self.filled * GROWTH, self.length)
            if not self._share.reach(size):
                return None
            larger = np.empty(size, np.uint8).data
            larger[: self.filled] = self.memory
            self.memory = larger
        return self.memory[self.filled :]
