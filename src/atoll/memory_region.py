"""Which parts of a stretch of memory are free: first fit by address, neighbours joined at once. Pure.

Pieces at low addresses are used again first, so a region of which little is in use at a time has few pages resident.

Child processes import this module too: the standard library only, on Python 3.10 and later.
"""

from bisect import bisect_left

HOLES_LOOKED_AT = 64  # bounds the time of one allocation; slow readers may hold any number of pieces


class MemoryRegion:
    """`byte_size` bytes in whole units of `unit` bytes; addresses are offsets from its start."""

    def __init__(self, byte_size: int, unit: int):
        self._unit = unit
        self._size = byte_size - byte_size % unit
        self._starts = [0] if self._size else []  # of the holes, in ascending order; no two of them touch
        self._ends = [self._size] if self._size else []
        self.used = 0

    def take(self, byte_size: int) -> tuple[int, int] | None:
        """The start and end of a free piece of at least so many bytes (a whole number of units, one at least), now in
        use; None where none is found.
        """
        size = max(byte_size + -byte_size % self._unit, self._unit)
        starts, ends = self._starts, self._ends
        for index, start in enumerate(starts):
            if index == HOLES_LOOKED_AT:
                index = len(starts) - 1  # the last hole is what was never used, most often
                start = starts[index]
            spare = ends[index] - start - size
            if spare >= 0:
                if spare:
                    starts[index] = start + size
                else:
                    del starts[index], ends[index]
                self.used += size
                return start, start + size
            if index >= HOLES_LOOKED_AT:
                return None
        return None

    def give(self, start: int, end: int) -> None:
        """A piece that `take` gave is free again."""
        starts, ends = self._starts, self._ends
        index = bisect_left(starts, start)
        joins_previous = index > 0 and ends[index - 1] == start
        joins_next = index < len(starts) and starts[index] == end
        if joins_previous and joins_next:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_previous:
            ends[index - 1] = end
        elif joins_next:
            starts[index] = start
        else:
            starts.insert(index, start)
            ends.insert(index, end)
        self.used -= end - start
