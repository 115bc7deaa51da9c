"""One process's end of the memory that it shares with another: its own arena, the other's mirror, and what goes back.

The `Memory` of wire.py. Descriptors of new regions travel on a socket of their own, before the message that first names
the region: who meets an unknown one finds it waiting there. Imported by child processes: the standard library and numpy
only, on Python 3.10 and later.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from atoll.isolation.arena import Arena, Block
from atoll.isolation.mirror import Mirror
from atoll.isolation.shared_files import SharedFile, create_shared_file
from atoll.isolation.wire import places_at_end, write_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.isolation.wire import Place
    from atoll.tensor import Array, Buffer

_SENDERS, _RECEIVERS = 0, 1
_ANNOUNCEMENT = struct.Struct("<IQ")  # region, bytes


class _Echo(weakref.ref["Array"]):
    """Watches the array of one of our own blocks that the other side has sent back."""

    __slots__ = ("block", "region")
    region: int
    block: int


class Exchange:
    """Thread-safe, but that one thread at a time may call `find` and `retracted`: the one that reads messages.

    `on_retract(region)` is to tell the other side that a region of ours is gone. `keeps`: code that runs here may keep
    and change what it has received (`settle`).
    """

    def __init__(
        self,
        regions: socket.socket,
        *,
        first_bytes: int,
        growth_bytes: int,
        prefix: str,
        on_retract: Callable[[int], None],
        create: Callable[[int, str], SharedFile | None] = create_shared_file,
        keeps: bool = False,
    ):
        self._keeps = keeps
        self._lent: deque[tuple[bytearray, int, Place]] = deque()
        self._settling = threading.Lock()
        regions.setblocking(False)  # recv_fds and send_fds forget the flags that they are given
        self._regions = regions
        self._announcing = threading.Lock()
        self._arena = Arena(
            first_bytes=first_bytes,
            growth_bytes=growth_bytes,
            prefix=prefix,
            announce=self._announce,
            retract=on_retract,
            create=create,
        )
        self._mirror = Mirror()
        # Filled by finalizers, which run in any thread at any moment: they can take no lock.
        self._freed: deque[tuple[int, int]] = deque()  # the other side's blocks that nobody here looks at any more
        self._dead: deque[weakref.ref[Array]] = deque()
        self._echoes: dict[int, _Echo] = {}  # a weak reference that dies first reports nothing

    # ---- out

    def place(self, data: Buffer) -> tuple[int, int, int, int, int] | None:
        """Where the other side finds these bytes: where they lie, if that is a block of its own, or a copy in ours.

        None where there is no shared memory for them.
        """
        size = len(data)
        address = np.frombuffer(data, np.uint8, 1).__array_interface__["data"][0]
        found = self._mirror.locate(address, size)
        if found is not None:
            region, start, offset = found
            return region + 1, _RECEIVERS, start, offset, size
        if self._dead:
            self._release_dead()
        block = self._arena_block(size)
        if block is None:
            return None
        block.memory[:] = data
        return block.region + 1, _SENDERS, block.offset, block.offset, size

    def lent(self, part: bytearray, places: int) -> None:
        """See `wire.Memory`."""
        if self._keeps:
            for at, place in places_at_end(part, places):
                self._lent.append((part, at, place))

    def settle(self) -> None:
        """Before what is packed is sent, and before other code runs: the other side's blocks go back to it as they are
        where nobody here looks at them any more. Of the others it gets a copy: they may be changed.
        """
        if not self._keeps:
            return
        with self._settling:  # who has taken one out may not be done with it
            while self._lent:
                part, at, (region, _, block, start, size) = self._lent.popleft()
                memory = self._mirror.memory_in_use(region - 1, block)
                copy = self._arena_block(size) if memory is not None else None
                if memory is not None and copy is not None:
                    copy.memory[:] = memory[start : start + size]
                    write_place(part, at, (copy.region + 1, _SENDERS, copy.offset, copy.offset, size))

    def _arena_block(self, size: int) -> Block | None:
        try:
            return self._arena.take(size)
        except OSError:  # the other side is gone, or reads so late that no more regions can be announced
            return None

    def take_back(self, places: list[tuple[int, int]]) -> None:
        """The other side needs these blocks no more. Raises ValueError for a block that there is not."""
        for region, start in places:
            self._arena.release(region, start)

    def _announce(self, region: int, fd: int, byte_size: int) -> None:
        with self._announcing:
            # Who waited here would wait for a message that names the regions before, which it may have yet to send.
            socket.send_fds(self._regions, [_ANNOUNCEMENT.pack(region, byte_size)], [fd])

    # ---- in

    def find(self, region: int, whose: int, block: int, start: int, size: int) -> memoryview:
        """The bytes that the other side says are there. Raises ValueError where they are not."""
        number = region - 1
        if whose == _SENDERS:
            if number not in self._mirror:
                self._meet(number)
            return self._mirror.view(number, start, size, self._free, block).data
        own = self._arena.hold(number, block)
        if not block <= start <= start + size <= block + own.byte_size:
            self._arena.release(number, block)
            raise ValueError(f"{size} bytes at {start} are not in the block at {block} of region {number}")
        return self._echo(own, start - block, size)

    def retracted(self, region: int) -> None:
        """The other side has given this region up. Raises ValueError for one that it does not have."""
        if region not in self._mirror:
            self._meet(region)
        self._mirror.remove(region)

    def freed(self) -> list[tuple[int, int]]:
        """The other side's blocks that nobody here looks at any more, each once, to be told to it."""
        if self._dead:
            self._release_dead()
        freed = self._freed
        blocks: list[tuple[int, int]] = []
        while freed:
            try:
                blocks.append(freed.popleft())
            except IndexError:  # another thread has taken the last one
                break
        return blocks

    def _meet(self, wanted: int) -> None:
        while wanted not in self._mirror:
            try:
                data, fds, _, _ = socket.recv_fds(self._regions, _ANNOUNCEMENT.size, 1)
            except BlockingIOError:
                raise ValueError(f"shared memory region {wanted} was never announced") from None
            if len(data) != _ANNOUNCEMENT.size or len(fds) != 1:
                for fd in fds:
                    os.close(fd)
                raise ValueError("a shared memory region was announced without its file")
            region, byte_size = _ANNOUNCEMENT.unpack(data)
            self._mirror.add(region, fds[0], byte_size)

    def _free(self, region: int, block: int) -> None:
        self._freed.append((region, block))

    def _echo(self, own: Block, offset: int, size: int) -> memoryview:
        array: Array = np.frombuffer(own.memory, np.uint8, size, offset)
        view: Array = np.ndarray((size,), np.uint8, array.data)
        echo = _Echo(view, self._dead.append)
        echo.region, echo.block = own.region, own.offset
        self._echoes[id(echo)] = echo
        return view.data

    def _release_dead(self) -> None:
        dead = self._dead
        while dead:
            try:
                echo = dead.popleft()
            except IndexError:  # another thread has taken the last one
                return
            assert isinstance(echo, _Echo)
            self._echoes.pop(id(echo), None)
            self._arena.release(echo.region, echo.block)

    # ---- end

    def tidy(self) -> None:
        """Give back what has not been used for a while."""
        if self._dead:
            self._release_dead()
        self._arena.tidy()

    @property
    def mirrored(self) -> int:
        """How many regions the other side has."""
        return len(self._mirror)

    def close(self) -> None:
        """Forget everything. Views that live stay readable."""
        self._arena.close()
        self._mirror.close()
        self._regions.close()
