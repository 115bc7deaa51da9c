"""The other side's shared memory, read in place: what an `arena` there has cut into blocks.

Child processes import this module too: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import mmap
import os
import stat
import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from atoll.tensor import Array

MAX_REGIONS = 4096  # each is a mapping and, in Python, a descriptor

OnFree: TypeAlias = Callable[[int, int], None]
_UINT8 = np.dtype(np.uint8)


def address_of(mapping: mmap.mmap) -> int:
    """Of a mapping's first byte."""
    address: int = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    return address


class _Mapped:
    """One file, as the other side sees it."""

    __slots__ = ("address", "byte_size", "live", "mapping", "number")

    def __init__(self, number: int, mapping: mmap.mmap):
        self.number = number
        self.mapping = mapping
        self.byte_size = len(mapping)
        self.address = address_of(mapping)
        self.live: dict[int, _View] = {}  # by offset, or by a negative number where that is taken


class _View(weakref.ref["Array"]):
    """Watches the array that all views of a block's bytes keep alive."""

    __slots__ = ("block", "end", "key", "live", "on_free", "region", "start")
    block: int
    end: int
    key: int
    live: dict[int, _View]
    on_free: OnFree
    region: int
    start: int


def _died(view: weakref.ref[Array]) -> None:
    # Runs in a finalizer, in any thread at any moment, also inside any method of the mirror: it takes no lock.
    assert isinstance(view, _View)
    view.live.pop(view.key, None)
    view.on_free(view.region, view.block)


class Mirror:
    """The other side's regions, mapped here. Regions are added and removed by one thread; the rest is thread-safe."""

    def __init__(self) -> None:
        self._regions: dict[int, _Mapped] = {}
        self._duplicates = count(1)
        _mirrors.add(self)

    # ---- regions

    def add(self, region: int, fd: int, byte_size: int) -> None:
        """Map a region that was announced. The descriptor is the mirror's, and closed in any case.

        Raises ValueError for a number that is in use, for more regions than a sane peer has, and for a descriptor that
        is not a file of at least so many bytes; OSError where it cannot be mapped.
        """
        try:
            if region in self._regions:
                raise ValueError(f"shared memory region {region} was announced twice")
            if len(self._regions) >= MAX_REGIONS:
                raise ValueError(f"more than {MAX_REGIONS} shared memory regions were announced")
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or not 0 < byte_size <= status.st_size:
                raise ValueError(
                    f"shared memory region {region} was announced with {byte_size} bytes; what came is "
                    + (f"a file of {status.st_size}" if stat.S_ISREG(status.st_mode) else "not a file")
                )
            self._regions[region] = _Mapped(region, mmap.mmap(fd, byte_size))
        finally:
            os.close(fd)

    def remove(self, region: int) -> None:
        """The region was given back: no view follows, and it is unmapped when the last one has died.

        Raises ValueError where there is none of that number.
        """
        if self._regions.pop(region, None) is None:
            raise ValueError(f"there is no shared memory region {region}")

    def __len__(self) -> int:
        """How many regions there are."""
        return len(self._regions)

    def __contains__(self, region: int) -> bool:
        """Whether a region of that number is there."""
        return region in self._regions

    # ---- blocks

    def view(self, region: int, offset: int, byte_size: int, on_free: OnFree, block_offset: int | None = None) -> Array:
        """The bytes at an offset of the region: uint8, shape [byte_size], writable.

        `on_free(region, block_offset)` is called once, when this array and all views of it have died: a hold is handed
        back for each call of `view`. It runs in a finalizer, in any thread at any moment: it must take no lock, and not
        raise. `block_offset` is where the block starts, `offset` itself if it is not given.

        Raises ValueError where the bytes are not inside the region; `on_free` is not called then.
        """
        mapped = self._regions.get(region)
        if mapped is None:
            raise ValueError(f"there is no shared memory region {region}")
        end = offset + byte_size
        block = offset if block_offset is None else block_offset
        if byte_size < 0 or not 0 <= block <= offset or end > mapped.byte_size:
            raise ValueError(
                f"bytes {offset} to {end} of a block at {block}: shared memory region {region} has "
                f"{mapped.byte_size} bytes"
            )
        array: Array = np.ndarray((byte_size,), _UINT8, mapped.mapping, offset)
        view = _View(array, _died)
        view.region, view.block, view.start, view.end, view.on_free = region, block, offset, end, on_free
        view.live = live = mapped.live
        view.key = offset
        if live.setdefault(offset, view) is not view:
            view.key = -next(self._duplicates)
            live[view.key] = view
        return array

    def locate(self, address: int, byte_size: int) -> tuple[int, int, int] | None:
        """Where this memory lies, as (region, block's offset, offset in the region), if it is inside one view that
        lives. The caller keeps an array of this memory, and so the block, until the other side has been told of it.
        """
        for mapped in list(self._regions.values()):
            offset = address - mapped.address
            if 0 <= offset < mapped.byte_size:
                view = mapped.live.get(offset)
                if view is not None and offset + byte_size <= view.end:
                    return mapped.number, view.block, offset
                for view in list(mapped.live.values()):
                    if view.start <= offset and offset + byte_size <= view.end:
                        return mapped.number, view.block, offset
                return None
        return None

    def memory_in_use(self, region: int, block: int) -> memoryview | None:
        """The whole region, where a view of that block lives; else None."""
        mapped = self._regions.get(region)
        if mapped is None or not any(view.block == block for view in list(mapped.live.values())):
            return None
        return memoryview(mapped.mapping)

    # ---- end

    def close(self) -> None:
        """Forget everything: `on_free` is called no more. Views that live stay readable. Calling it again does nothing.

        A process that was forked does so at once, with all mirrors that it inherited: the holds are not its own.
        """
        for mapped in list(self._regions.values()):
            mapped.live.clear()
        self._regions.clear()


_mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()


def _forget_all() -> None:
    for mirror in list(_mirrors):
        mirror.close()


os.register_at_fork(after_in_child=_forget_all)
