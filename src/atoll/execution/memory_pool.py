"""Reusable, aligned host memory in which batches are put together.

One anonymous mapping, none of it resident before it is used. A piece is free again when the last view of it dies: a
backend may return views of its inputs, and responses are sent later.
"""

import logging
import math
import mmap
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.devices.pinned_memory import HostRegistration, register
from atoll.errors import InvalidArgumentError
from atoll.memory_region import MemoryRegion
from atoll.tensor import Array

logger = logging.getLogger(__name__)

DEFAULT_BYTE_SIZE = 256 << 20  # the real server's --pinned-memory-pool-byte-size
DEFAULT_ALIGNMENT = 64  # a cache line, and the widest vector of today's CPUs
MAX_ALIGNMENT = 2 << 20  # a huge page


class _Piece(weakref.ref[Array]):
    """Watches the array that all views of a piece keep alive."""

    __slots__ = ("end", "start")
    start: int
    end: int


class HostMemoryPool:
    """Thread-safe. `byte_size` bytes (0: none, every piece is ordinary memory); pieces start at multiples of
    `alignment` bytes, a power of two up to 2 MiB, and of 64 in any case.

    Raises InvalidArgumentError for another alignment, and where the system does not grant so much address space.
    """

    def __init__(self, byte_size: int = DEFAULT_BYTE_SIZE, alignment: int = DEFAULT_ALIGNMENT):
        if not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise InvalidArgumentError(
                f"memory pool alignment {alignment}: expected a power of two from 1 to {MAX_ALIGNMENT}"
            )
        if byte_size < 0:
            raise InvalidArgumentError(f"memory pool of {byte_size} bytes: expected a whole number from 0")
        self._total = byte_size
        self._alignment = max(alignment, DEFAULT_ALIGNMENT)
        self._memory: mmap.mmap | None = None
        self._offset = 0  # of the first aligned byte: a mapping is aligned to pages only
        if byte_size:
            self._memory = _map(byte_size + (self._alignment if self._alignment > mmap.PAGESIZE else 0))
            self._offset = -self._address(self._memory) % self._alignment
        self._region = MemoryRegion(byte_size, self._alignment)
        self._lock = threading.Lock()
        self._live: dict[int, _Piece] = {}  # by start; a weak reference that dies first reports nothing
        # Filled by finalizers, which run in any thread at any moment, also inside `empty`: they can take no lock.
        self._dead: deque[weakref.ref[Array]] = deque()
        self._registration: HostRegistration | None = None

    # ---- use

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A new array of a fixed-size dtype in C order, aligned, writable and not initialised.

        It lies in the pool where the pool has room, and in ordinary memory otherwise. Nobody else gets this memory
        while the array or any view of it lives.
        """
        byte_size = dtype.itemsize * math.prod(shape)
        with self._lock:
            if self._dead:
                self._collect()
            memory = self._memory
            taken = self._region.take(byte_size) if memory is not None else None
            if taken is not None:
                start, end = taken
                array: Array = np.ndarray(shape, dtype, memory, self._offset + start)
                piece = self._live[start] = _Piece(array, self._dead.append)
                piece.start, piece.end = start, end
                return array
        ordinary: Array = np.empty(byte_size + self._alignment, np.uint8)
        start = -ordinary.__array_interface__["data"][0] % self._alignment
        return ordinary[start : start + byte_size].view(dtype).reshape(shape)

    def pin(self) -> bool:
        """Lock the pool's memory to physical pages for copies to a GPU, if there is one; whether it now is.

        All of it is resident then. Where it cannot be, that is logged once and the pool stays as it is.
        """
        with self._lock:
            if self._memory is None:
                return False
            if self._registration is None:
                self._registration = register(self._address(self._memory) + self._offset, self._total)
                if self._registration.refusal:
                    logger.warning("host memory pool is not pinned: %s", self._registration.refusal)
            return not self._registration.refusal

    @property
    def total_bytes(self) -> int:
        """The pool's size."""
        return self._total

    @property
    def used_bytes(self) -> int:
        """Bytes in pieces of which views live."""
        with self._lock:
            self._collect()
            return self._region.used

    def _collect(self) -> None:
        while self._dead:
            piece = self._dead.popleft()
            assert isinstance(piece, _Piece)
            del self._live[piece.start]
            self._region.give(piece.start, piece.end)

    @staticmethod
    def _address(memory: mmap.mmap) -> int:
        address: int = np.frombuffer(memory, np.uint8, 1).__array_interface__["data"][0]
        return address

    # ---- end

    def close(self) -> None:
        """From now on pieces are ordinary memory. The mapping goes back to the system when the last view of it dies.

        Calling it again does nothing.
        """
        with self._lock:
            if self._registration is not None:
                self._registration.release()
            self._memory = None


def wants_pinned(config: ModelConfig) -> bool:
    """Whether batches of this model go to a GPU from pinned memory: so they do unless optimization says otherwise."""
    kinds = {group.kind for group in config.instance_group}
    policy = config.optimization.input_pinned_memory if config.optimization is not None else None
    return ModelInstanceGroup.Kind.KIND_GPU in kinds and (policy is None or policy.enable)


def _map(byte_size: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, byte_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise InvalidArgumentError(
            f"memory pool of {byte_size} bytes: the system does not grant it ({error}); "
            "ask for less with --pinned-memory-pool-byte-size, or 0 for none"
        ) from error
