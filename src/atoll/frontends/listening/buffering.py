"""How many bytes of requests that are still coming in a frontend holds in all, whoever sends them."""

import os

_FLOOR_BYTES = 256 << 20


def default_buffer_bytes(memory_bytes: int | None = None) -> int:
    """A quarter of the machine's memory, at least 256 MiB."""
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(_FLOOR_BYTES, memory_bytes // 4)


class BufferBudget:
    """Bytes that may be held at the same time. Belongs to one event loop."""

    def __init__(self, limit: int):
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Whether that many more may be held; if so they are, until `give_back`."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Bytes that were taken and are not held any more."""
        self.held -= size


class BufferShare:
    """What one connection holds of a budget."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: BufferBudget):
        self._budget = budget
        self.held = 0

    def reach(self, size: int) -> bool:
        """Whether that many bytes in all may be held; if so they are, until `give_back`."""
        more = size - self.held
        if more > 0:
            if not self._budget.take(more):
                return False
            self.held = size
        return True

    def hold(self, size: int) -> None:
        """So many bytes are there already, whether there was room for them or not."""
        self._budget.give_back(self.held - size)
        self.held = size

    def give_back(self) -> None:
        """Nothing is held any more."""
        self._budget.give_back(self.held)
        self.held = 0
