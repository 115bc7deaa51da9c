"""The host memory pool: aligned, bounded, and nobody's memory while somebody still looks at it."""

import gc
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy
from atoll.errors import InvalidArgumentError
from atoll.execution.memory_pool import HostMemoryPool, wants_pinned
from atoll.memory_region import MemoryRegion

BYTE = np.dtype(np.uint8)
FLOAT = np.dtype(np.float32)
MIB = 1 << 20


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def resident_bytes(start: int, byte_size: int) -> int:
    """How much of these addresses has memory behind it. The process's total would count what others do meanwhile."""
    first, last = start // mmap.PAGESIZE, -(-(start + byte_size) // mmap.PAGESIZE)
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
        pages.seek(first * 8)
        entries = np.frombuffer(pages.read((last - first) * 8), np.uint64)
    return int(np.count_nonzero(entries >> np.uint64(62))) * mmap.PAGESIZE  # present, or swapped out


VIEWS: list[Callable[[Any], Any]] = [
    lambda array: array,
    lambda array: array[1:],
    lambda array: array[:, ::2].T,
    lambda array: array.view(np.uint8).reshape(-1)[3:],
    lambda array: memoryview(array)[1:],
    lambda array: np.frombuffer(array, np.uint8),
    lambda array: np.asarray(memoryview(array)),
    lambda array: np.from_dlpack(array),
    lambda array: iter([array[0, :1]]),
]


@pytest.mark.parametrize("view_of", VIEWS)
def test_a_piece_is_in_use_as_long_as_any_view_of_it(view_of: Callable[[Any], Any]) -> None:
    pool = HostMemoryPool(MIB)
    view = view_of(pool.empty((4, 256), FLOAT))
    gc.collect()
    assert pool.used_bytes == 4096
    other = pool.empty((4, 256), FLOAT)
    other[:] = 7
    assert pool.used_bytes == 8192
    del view
    assert pool.used_bytes == 4096
    assert other.min() == 7


def test_memory_is_used_again() -> None:
    pool = HostMemoryPool(MIB)
    first = address(pool.empty((1000,), BYTE))
    assert [address(pool.empty((1000,), BYTE)) for _ in range(100)] == [first] * 100
    assert pool.used_bytes == 0
    assert pool.total_bytes == MIB


@given(
    st.sampled_from([1, 2, 64, 256, 4096, 1 << 16]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.sampled_from("?bhieqfd")), max_size=60),
)
@settings(max_examples=60)
def test_pieces_are_aligned_and_keep_what_is_written(alignment: int, steps: list[tuple[bool, int, str]]) -> None:
    pool = HostMemoryPool(4 * max(alignment, 4096), alignment)
    live: list[tuple[Any, int]] = []
    for number, (drops, size, code) in enumerate(steps):
        if drops and live:
            live.pop(size % len(live))
            continue
        array = pool.empty((size, 3), np.dtype(code))
        assert not size or address(array) % max(alignment, 64) == 0
        assert array.shape == (size, 3)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        array.view(np.uint8)[:] = number % 251
        live.append((array[:, 1:], number % 251))
        for view, value in live:
            assert (np.ascontiguousarray(view).view(np.uint8) == value).all()
    live.clear()
    array = view = None  # type: ignore[assignment]
    assert pool.used_bytes == 0


class OneAtATime(MemoryRegion):
    """A region that notices two threads in it at once."""

    def __init__(self, byte_size: int, unit: int):
        super().__init__(byte_size, unit)
        self.inside = 0
        self.most_inside = 0

    def take(self, byte_size: int) -> tuple[int, int] | None:
        with self.noticed():
            return super().take(byte_size)

    def give(self, start: int, end: int) -> None:
        with self.noticed():
            super().give(start, end)

    @contextmanager
    def noticed(self) -> Iterator[None]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        time.sleep(0)  # lets another thread run
        yield
        self.inside -= 1


def test_threads_never_get_each_others_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread writes its mark, hands a view to the next thread, and looks whether what it got is still marked."""
    regions: list[OneAtATime] = []

    def region(byte_size: int, unit: int) -> OneAtATime:
        regions.append(OneAtATime(byte_size, unit))
        return regions[-1]

    monkeypatch.setattr("atoll.execution.memory_pool.MemoryRegion", region)
    pool = HostMemoryPool(256 << 10)  # too small for all of them: some pieces are ordinary memory
    held: list[list[tuple[Any, int]]] = [[] for _ in range(4)]
    wrong: list[str] = []

    def work(me: int) -> None:
        random = np.random.default_rng(me)
        for step in range(1500):
            value = (me * 1500 + step) % 60_000
            array = pool.empty((int(random.integers(1, 9000)),), np.dtype(np.uint16))
            array[:] = value
            held[(me + 1) % 4].append((array[len(array) // 2 :], value))
            del array
            while len(held[me]) > 8:
                view, expected = held[me].pop(0)
                if not (view == expected).all():
                    wrong.append(f"thread {me}, step {step}: {set(view.tolist())} in place of {expected}")

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert regions[0].most_inside == 1
    assert 0 < pool.used_bytes <= pool.total_bytes
    held.clear()
    assert pool.used_bytes == 0


def test_a_piece_that_dies_in_a_garbage_cycle_comes_back() -> None:
    pool = HostMemoryPool(MIB)
    cycle: dict[str, Any] = {"array": pool.empty((MIB,), BYTE)}
    cycle["self"] = cycle
    assert pool.used_bytes == MIB
    del cycle
    gc.collect()
    assert pool.used_bytes == 0


@pytest.mark.parametrize("byte_size", [0, 1000])
def test_what_does_not_fit_is_ordinary_memory(byte_size: int) -> None:
    pool = HostMemoryPool(byte_size)
    array = pool.empty((5000,), FLOAT)
    array[:] = 1
    assert address(array) % 64 == 0
    assert pool.used_bytes == 0


def test_a_full_pool_goes_on_with_ordinary_memory() -> None:
    pool = HostMemoryPool(4096)
    pieces = [pool.empty((2048,), BYTE) for _ in range(3)]
    assert pool.used_bytes == 4096
    for number, piece in enumerate(pieces):
        piece[:] = number
    assert [set(piece.tolist()) for piece in pieces] == [{0}, {1}, {2}]


def test_nothing_is_resident_before_it_is_used() -> None:
    pool = HostMemoryPool(1 << 30)
    start = address(pool.empty((1 << 30,), BYTE))
    assert resident_bytes(start, 1 << 30) == 0
    pool.empty((128 * MIB,), BYTE)[:: mmap.PAGESIZE] = 1
    used = resident_bytes(start, 1 << 30)
    assert 128 * MIB <= used < 256 * MIB  # and it stays with the pool
    del pool
    gc.collect()
    assert resident_bytes(start, 1 << 30) < used


def test_views_outlive_the_pool() -> None:
    pool = HostMemoryPool(MIB)
    view = pool.empty((1000,), FLOAT)[10:]
    view[:] = 3
    pool.close()
    pool.close()
    later = pool.empty((1000,), FLOAT)
    later[:] = 4
    assert view.sum() == 3 * 990
    del pool
    gc.collect()
    assert view.sum() == 3 * 990
    assert not np.shares_memory(view, later)


@pytest.mark.parametrize("alignment", [0, -64, 3, 65, 1 << 22])
def test_an_alignment_must_be_a_power_of_two(alignment: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"alignment {alignment}: expected a power of two"):
        HostMemoryPool(MIB, alignment)


@pytest.mark.parametrize("byte_size", [1 << 60, 1 << 80])
def test_a_size_that_the_system_does_not_grant(byte_size: int) -> None:
    with pytest.raises(InvalidArgumentError, match="ask for less with --pinned-memory-pool-byte-size"):
        HostMemoryPool(byte_size)


def test_a_negative_size() -> None:
    with pytest.raises(InvalidArgumentError, match="-1 bytes"):
        HostMemoryPool(-1)


def test_a_pool_without_a_gpu_is_just_not_pinned(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr("atoll.devices.pinned_memory.find_runtime", lambda: None)
    pool = HostMemoryPool(MIB)
    assert not pool.pin()
    assert not pool.pin()
    assert caplog.text.count("host memory pool is not pinned: no CUDA runtime library (libcudart) was found") == 1
    pool.close()
    assert not pool.pin()


def test_who_wants_pinned_memory() -> None:
    gpu = (ModelInstanceGroup(kind=ModelInstanceGroup.Kind.KIND_GPU),)
    buffer = ModelOptimizationPolicy.PinnedMemoryBuffer
    assert not wants_pinned(ModelConfig())
    assert wants_pinned(ModelConfig(instance_group=gpu))
    on = ModelOptimizationPolicy(input_pinned_memory=buffer(enable=True))
    off = ModelOptimizationPolicy(input_pinned_memory=buffer(enable=False))
    assert wants_pinned(ModelConfig(instance_group=gpu, optimization=on))
    assert not wants_pinned(ModelConfig(instance_group=gpu, optimization=off))
    assert not wants_pinned(ModelConfig(optimization=on))
