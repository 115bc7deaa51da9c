"""Tensors' memory that two processes share: an `Arena` on the side that writes, a `Mirror` on the side that reads.

The arena cuts blocks from files that both sides map, its regions. A block is in use until each hold on it is dropped:
`take` gives the first one to who writes, and the message that names the block hands that hold over to who reads. The
mirror makes arrays of the block's bytes and says when the last view of such an array has died, anywhere in the process;
that goes back as a message, and drops the hold. Nothing is copied, and no side waits for the other.

Child processes import this module too: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import count

from atoll.isolation.mirror import Mirror, address_of
from atoll.isolation.shared_files import SharedFile, create_shared_file
from atoll.memory_region import MemoryRegion

__all__ = ["Arena", "Block", "Mirror"]

ALIGNMENT = 64  # a cache line, and the widest vector of today's CPUs
IDLE_S = 30.0  # for which a region that nothing uses is kept
REFUSED_S = 1.0  # for which a size that the system has refused is not asked for again
NEVER = float("inf")


class Block:
    """A piece of a region: `byte_size` writable bytes, `memory`, that start `offset` bytes from the region's start."""

    __slots__ = ("byte_size", "end", "holds", "memory", "offset", "region")

    def __init__(self, region: int, offset: int, end: int, memory: memoryview):
        self.region = region
        self.offset = offset
        self.end = end  # of what the arena has set aside: whole units
        self.byte_size = len(memory)
        self.memory = memory
        self.holds = 1


class _Region:
    """One file, as its owner sees it."""

    __slots__ = ("address", "blocks", "byte_size", "first", "free", "free_since", "memory", "number", "starts")

    def __init__(self, number: int, file: SharedFile, first: bool):
        self.number = number
        self.byte_size = file.byte_size
        mapping = mmap.mmap(file.fd, file.byte_size)
        self.memory = memoryview(mapping)
        self.address = address_of(mapping)
        self.free = MemoryRegion(file.byte_size, ALIGNMENT)
        self.blocks: dict[int, Block] = {}  # by offset
        self.starts: list[int] | None = None  # the same offsets in order, made when somebody looks for an address
        self.first = first
        self.free_since = 0.0


class Arena:
    """Thread-safe. Regions are made when they are needed: the first of `first_bytes`, each further one of
    `growth_bytes`, or of as many as one block needs. One that has been free for 30 s is given back, but for the first.

    `announce(region, fd, byte_size)` tells the other side of a new region and has sent the descriptor when it returns:
    it is closed then. What it raises, `take` raises. `retract(region)` says that a region is given back. Both may be
    called from any thread that uses the arena.
    """

    def __init__(
        self,
        *,
        first_bytes: int,
        growth_bytes: int,
        prefix: str,
        announce: Callable[[int, int, int], None],
        retract: Callable[[int], None] | None = None,
        create: Callable[[int, str], SharedFile | None] = create_shared_file,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._first_bytes = first_bytes
        self._growth_bytes = growth_bytes
        self._prefix = prefix
        self._announce = announce
        self._retract = retract
        self._create = create
        self._clock = clock
        self._lock = threading.Lock()
        self._growth = threading.Lock()  # taken before the other one
        self._regions: dict[int, _Region] = {}  # in the order in which they were made
        self._numbers = count()
        self._idle_check = NEVER  # when the next region may have been free for long enough
        self._refused = (0, 0.0)  # a size in bytes, and until when it is not asked for
        self._closed = False

    # ---- use

    def take(self, byte_size: int) -> Block | None:
        """A new block of at least one byte's room, held once; None where no shared memory can be had for it.

        Its bytes are what was there before, and 64-byte aligned. Raises ValueError for a negative size.
        """
        if byte_size < 0:
            raise ValueError(f"a block of {byte_size} bytes: expected 0 at least")
        if self._idle_check is not NEVER:
            self.tidy()
        with self._lock:
            block = self._cut(byte_size)
        if block is not None:
            return block
        with self._growth:
            with self._lock:
                block = self._cut(byte_size)  # another thread may have grown it meanwhile
            return block if block is not None else self._grow(byte_size)

    def hold(self, region: int, offset: int) -> Block:
        """The block that starts there, held once more. Raises ValueError where none does."""
        with self._lock:
            block = self._block(region, offset)
            block.holds += 1
            return block

    def release(self, region: int, offset: int) -> None:
        """Drop one hold of the block that starts there. Raises ValueError where none does."""
        with self._lock:
            if self._closed:
                return  # what the other side said last
            block = self._block(region, offset)
            block.holds -= 1
            if block.holds:
                return
            home = self._regions[region]
            del home.blocks[offset]
            home.starts = None
            home.free.give(offset, block.end)
            if home.first or home.blocks:
                return
            home.free_since = self._clock()
            self._idle_check = min(self._idle_check, home.free_since + IDLE_S)

    def locate(self, address: int, byte_size: int) -> tuple[int, int, int] | None:
        """Where this memory lies, as (region, block's offset, offset in the region), if it is inside one block in use.

        That it stays in use is the caller's affair.
        """
        with self._lock:
            for region in self._regions.values():
                offset = address - region.address
                if 0 <= offset < region.byte_size:
                    return _within(region, offset, byte_size)
        return None

    def tidy(self) -> None:
        """Give back the regions that have been free for long enough. `take` does so too; this is for who has a timer,
        and whose model may get no further request.
        """
        with self._lock:
            now = self._clock()
            if now < self._idle_check:
                return
            free = [one for one in self._regions.values() if not (one.first or one.blocks)]
            departed = [one.number for one in free if one.free_since + IDLE_S <= now]
            for number in departed:
                del self._regions[number]
            staying = (one.free_since + IDLE_S for one in free if one.number in self._regions)
            self._idle_check = min(staying, default=NEVER)
        if self._retract is not None:
            for number in departed:
                self._retract(number)

    @property
    def total_bytes(self) -> int:
        """Of all regions."""
        with self._lock:
            return sum(region.byte_size for region in self._regions.values())

    @property
    def used_bytes(self) -> int:
        """In blocks that are held."""
        with self._lock:
            return sum(region.free.used for region in self._regions.values())

    # ---- under a lock

    def _cut(self, byte_size: int) -> Block | None:
        for region in self._regions.values():
            taken = region.free.take(byte_size)
            if taken is not None:
                start, end = taken
                block = Block(region.number, start, end, region.memory[start : start + byte_size])
                region.blocks[start] = block
                region.starts = None
                return block
        return None

    def _grow(self, byte_size: int) -> Block | None:
        """A block of a new region; called with the lock for growth alone, so that blocks go on being released."""
        if self._closed:
            return None
        refused_size, until = self._refused
        if byte_size >= refused_size and self._clock() < until:
            return None
        first = byte_size <= self._first_bytes and not any(region.first for region in self._regions.values())
        room = max(self._first_bytes if first else self._growth_bytes, byte_size, 1)
        file = self._create(room + -room % mmap.PAGESIZE, self._prefix)
        if file is None:
            self._refuse(byte_size)
            return None
        try:
            region = _Region(next(self._numbers), file, first)
        except OSError:  # no address space, or no descriptor left
            os.close(file.fd)
            self._refuse(byte_size)
            return None
        try:
            self._announce(region.number, file.fd, file.byte_size)
        finally:
            os.close(file.fd)
        with self._lock:
            if self._closed:
                return None
            self._regions[region.number] = region
            return self._cut(byte_size)

    def _refuse(self, byte_size: int) -> None:
        self._refused = (byte_size, self._clock() + REFUSED_S)

    def _block(self, region: int, offset: int) -> Block:
        home = self._regions.get(region)
        block = home.blocks.get(offset) if home is not None else None
        if block is None:
            raise ValueError(
                f"no block in use starts at byte {offset} of shared memory region {region}"
                if home is not None
                else f"there is no shared memory region {region}"
            )
        return block

    # ---- end

    def close(self) -> None:
        """No block is to be had from now on, and releases are ignored. The memory goes back to the system when both
        sides have let go of it: here that is when the last block's memory is. Calling it again does nothing.
        """
        with self._lock:
            self._closed = True
            self._regions.clear()
            self._idle_check = NEVER


def _within(region: _Region, offset: int, byte_size: int) -> tuple[int, int, int] | None:
    if region.starts is None:
        region.starts = sorted(region.blocks)
    index = bisect_right(region.starts, offset) - 1
    if index < 0:
        return None
    start = region.starts[index]
    if offset + byte_size > start + region.blocks[start].byte_size:
        return None
    return region.number, start, offset
