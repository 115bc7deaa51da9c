"""The arena: blocks never overlap, none is lost, holds are counted, and what is not needed is given back."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.isolation import shared_files
from atoll.isolation.arena import ALIGNMENT, IDLE_S, REFUSED_S, Arena, Block
from atoll.isolation.shared_files import SharedFile

PAGE = 4096
PREFIX = f"atoll_test_arena_{os.getpid()}_"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """What the other side is told."""

    def __init__(self) -> None:
        self.announced: dict[int, int] = {}
        self.retracted: list[int] = []

    def announce(self, region: int, fd: int, byte_size: int) -> None:
        assert os.fstat(fd).st_size == byte_size
        assert region not in self.announced
        self.announced[region] = byte_size


def arena_of(peer: Peer, first_bytes: int = 4 * PAGE, growth_bytes: int = PAGE, **more: Any) -> Arena:
    return Arena(
        first_bytes=first_bytes,
        growth_bytes=growth_bytes,
        prefix=PREFIX,
        announce=peer.announce,
        retract=peer.retracted.append,
        **more,
    )


def taken(arena: Arena, byte_size: int) -> Block:
    block = arena.take(byte_size)
    assert block is not None
    return block


def address(block: Block) -> int:
    found: int = np.frombuffer(block.memory, np.uint8).__array_interface__["data"][0]
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 3 * PAGE)),
        st.tuples(st.just("hold"), st.integers(0, 50)),
        st.tuples(st.just("release"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.integers(0, 40)),
        st.tuples(st.just("wrong"), st.tuples(st.integers(-1, 5), st.integers(-64, 5 * PAGE))),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
def test_blocks_never_overlap_and_none_is_lost(steps: list[tuple[str, Any]]) -> None:
    peer, clock = Peer(), Clock()
    arena = arena_of(peer, clock=clock)
    live: list[tuple[Block, int]] = []  # once for each hold, with what was written into it

    def regions() -> set[int]:
        return peer.announced.keys() - set(peer.retracted)

    def release(index: int) -> None:
        block, mark = live.pop(index % len(live))
        assert bytes(block.memory) == bytes([mark]) * block.byte_size, "somebody else wrote here"
        arena.release(block.region, block.offset)

    for number, (what, value) in enumerate(steps):
        if what == "take":
            block = taken(arena, value)
            assert block.byte_size == value == len(block.memory)
            assert block.offset % ALIGNMENT == 0
            assert block.offset + value <= peer.announced[block.region]
            block.memory[:] = bytes([number % 251]) * value
            live.append((block, number % 251))
        elif what == "hold" and live:
            block, mark = live[value % len(live)]
            assert arena.hold(block.region, block.offset) is block
            live.append((block, mark))
        elif what == "release" and live:
            release(value)
        elif what == "wait":
            clock.now += value
            arena.tidy()
        elif what == "wrong" and value not in [(block.region, block.offset) for block, _ in live]:
            for use in (arena.release, arena.hold):
                with pytest.raises(ValueError, match="shared memory region"):
                    use(*value)
        held = {(block.region, block.offset): block for block, _ in live}
        assert arena.used_bytes == sum(max(-(-one.byte_size // ALIGNMENT), 1) * ALIGNMENT for one in held.values())
        assert arena.total_bytes == sum(peer.announced[region] for region in regions())
        assert {region for region, _ in held} <= regions()
    while live:
        release(0)
    assert arena.used_bytes == 0
    clock.now += IDLE_S
    arena.tidy()
    assert arena.total_bytes in (0, 4 * PAGE), "only the first region is kept"
    if arena.total_bytes:
        first = taken(arena, 4 * PAGE)
        assert first.offset == 0, "what was free is whole again"
        assert regions() == {first.region}


def test_memory_is_aligned_and_really_in_the_file_that_was_announced() -> None:
    files: dict[int, int] = {}
    arena = Arena(
        first_bytes=PAGE,
        growth_bytes=PAGE,
        prefix=PREFIX,
        announce=lambda region, fd, byte_size: files.update({region: os.dup(fd)}),
    )
    blocks = [taken(arena, size) for size in (1, 100, 64, 5000, 3)]
    for block in blocks:
        assert address(block) % ALIGNMENT == 0
        block.memory[:] = os.urandom(block.byte_size)
        assert os.pread(files[block.region], block.byte_size, block.offset) == block.memory
    for fd in files.values():
        os.close(fd)


def test_it_grows_by_what_is_asked_for() -> None:
    peer = Peer()
    arena = arena_of(peer, first_bytes=2 * PAGE, growth_bytes=3 * PAGE)
    assert arena.total_bytes == 0, "nothing is made before it is needed"
    for size in (PAGE, PAGE, 1, 10 * PAGE + 1):
        taken(arena, size)
    assert list(peer.announced.values()) == [2 * PAGE, 3 * PAGE, 11 * PAGE]


def test_a_first_block_that_is_too_large_for_the_first_region_is_not_kept_for_ever() -> None:
    peer, clock = Peer(), Clock()
    arena = arena_of(peer, clock=clock)
    large = taken(arena, 100 * PAGE)
    arena.release(large.region, large.offset)
    clock.now += IDLE_S
    small = taken(arena, 10)
    assert peer.retracted == [large.region]
    assert peer.announced[small.region] == 4 * PAGE
    arena.release(small.region, small.offset)
    clock.now += 100 * IDLE_S
    arena.tidy()
    assert peer.retracted == [large.region]


def test_a_region_in_use_now_and_then_stays() -> None:
    peer, clock = Peer(), Clock()
    arena = arena_of(peer, clock=clock)
    taken(arena, 4 * PAGE)
    for _ in range(5):
        block = taken(arena, 8 * PAGE)
        arena.release(block.region, block.offset)
        clock.now += IDLE_S - 1
        arena.tidy()
    assert peer.retracted == []
    clock.now += 1
    arena.tidy()
    assert peer.retracted == [block.region]
    with pytest.raises(ValueError, match=f"there is no shared memory region {block.region}"):
        arena.release(block.region, block.offset)


def test_a_region_that_frees_later_goes_later() -> None:
    peer, clock = Peer(), Clock()
    arena = arena_of(peer, first_bytes=PAGE, clock=clock)
    blocks = [taken(arena, 8 * PAGE) for _ in range(2)]
    for block in blocks:
        arena.release(block.region, block.offset)
        clock.now += 10
    clock.now += IDLE_S - 20
    arena.tidy()
    assert peer.retracted == [blocks[0].region]
    clock.now += 10
    taken(arena, 1)
    assert peer.retracted == [block.region for block in blocks]


def test_a_hold_more_is_a_release_more() -> None:
    arena = arena_of(Peer())
    block = taken(arena, 100)
    arena.hold(block.region, block.offset)
    arena.release(block.region, block.offset)
    assert taken(arena, 100).offset != block.offset
    arena.release(block.region, block.offset)
    with pytest.raises(ValueError, match=f"no block in use starts at byte {block.offset} of shared memory region 0"):
        arena.release(block.region, block.offset)
    assert taken(arena, 100).offset == block.offset


def test_where_memory_lies() -> None:
    arena = arena_of(Peer())
    blocks = [taken(arena, size) for size in (100, 200, 300, 5 * PAGE)]
    for block in blocks:
        start, end = address(block), address(block) + block.byte_size
        place = (block.region, block.offset)
        assert arena.locate(start, block.byte_size) == (*place, block.offset)
        assert arena.locate(start + 10, 20) == (*place, block.offset + 10)
        assert arena.locate(end - 1, 1) == (*place, block.offset + block.byte_size - 1)
        assert arena.locate(end - 1, 2) is None
        assert arena.locate(end, 1) is None
    arena.release(blocks[1].region, blocks[1].offset)
    assert arena.locate(address(blocks[1]), 1) is None
    assert arena.locate(address(blocks[2]), 1) is not None
    assert arena.locate(address(blocks[0]) - 1, 2) is None
    own = np.zeros(10)
    assert arena.locate(own.__array_interface__["data"][0], 80) is None


def test_a_negative_size() -> None:
    with pytest.raises(ValueError, match="a block of -1 bytes: expected 0 at least"):
        arena_of(Peer()).take(-1)


# ---- where there is no memory


def test_a_size_that_was_refused_is_asked_for_again_after_a_while() -> None:
    asked: list[int] = []
    clock = Clock()

    def create(byte_size: int, prefix: str) -> SharedFile | None:
        asked.append(byte_size)
        return shared_files.create_shared_file(byte_size, prefix) if byte_size <= 8 * PAGE else None

    arena = arena_of(Peer(), create=create, clock=clock)
    assert arena.take(20 * PAGE) is None
    assert arena.take(20 * PAGE) is None
    assert arena.take(30 * PAGE) is None
    assert asked == [20 * PAGE]
    assert arena.take(6 * PAGE) is not None, "less may be there"
    clock.now += REFUSED_S
    assert arena.take(20 * PAGE) is None
    assert asked == [20 * PAGE, 6 * PAGE, 20 * PAGE]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_that_cannot_be_mapped_is_none(tmp_path: Any) -> None:
    def create(byte_size: int, prefix: str) -> SharedFile:
        (tmp_path / "file").write_bytes(bytes(byte_size))
        return SharedFile(os.open(tmp_path / "file", os.O_RDONLY), byte_size, "shm")

    before = open_descriptors()
    peer = Peer()
    assert arena_of(peer, create=create).take(1) is None
    assert peer.announced == {}
    assert open_descriptors() == before


def test_a_peer_that_cannot_be_told_costs_no_memory() -> None:
    def announce(region: int, fd: int, byte_size: int) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    before = open_descriptors()
    arena = Arena(first_bytes=PAGE, growth_bytes=PAGE, prefix=PREFIX, announce=announce)
    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            arena.take(1)
    assert arena.total_bytes == 0
    assert open_descriptors() == before


# ---- threads, and the end


def test_threads_share_it() -> None:
    arena = arena_of(Peer(), first_bytes=PAGE)
    wrong: list[str] = []

    def work(mark: int) -> None:
        for number in range(400):
            block = arena.take((number * 37 + mark * 101) % 3000)
            assert block is not None
            block.memory[:] = bytes([mark]) * block.byte_size
            arena.hold(block.region, block.offset)
            arena.release(block.region, block.offset)
            if bytes(block.memory) != bytes([mark]) * block.byte_size:
                wrong.append(f"block {block.region} {block.offset} of thread {mark}")
            arena.release(block.region, block.offset)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert arena.used_bytes == 0


def test_blocks_are_released_while_it_grows() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def create(byte_size: int, prefix: str) -> SharedFile | None:
        if byte_size > PAGE:
            entered.set()
            assert go_on.wait(30)
        return shared_files.create_shared_file(byte_size, prefix)

    arena = arena_of(Peer(), first_bytes=PAGE, create=create)
    small = taken(arena, 100)
    results: list[Block | None] = []
    grower = threading.Thread(target=lambda: results.append(arena.take(2 * PAGE)))
    grower.start()
    assert entered.wait(30)
    arena.release(small.region, small.offset)
    assert arena.take(100) is not None
    go_on.set()
    grower.join(30)
    assert results[0] is not None


@pytest.mark.parametrize("use", [lambda arena: arena.take(1), lambda arena: arena.locate(1, 1)])
def test_after_the_end_there_is_nothing(use: Callable[[Arena], object]) -> None:
    arena = arena_of(Peer())
    block = taken(arena, 100)
    before = open_descriptors()
    arena.close()
    arena.close()
    assert use(arena) is None
    arena.release(block.region, block.offset)  # what the other side said last
    with pytest.raises(ValueError, match="there is no shared memory region"):
        arena.hold(block.region, block.offset)
    block.memory[:] = bytes(100)  # still there
    assert arena.total_bytes == 0
    del block
    assert open_descriptors() < before
