"""The mirror: views are inside their region, in use until the last one has died, and found again by their address."""

import gc
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.isolation import mirror as mirror_module
from atoll.isolation.arena import Arena, Block, Mirror

PAGE = mmap.PAGESIZE
PREFIX = f"atoll_test_mirror_{os.getpid()}_"
Freed = list[tuple[int, int]]


def region_of(mirror: Mirror, number: int, byte_size: int = PAGE) -> None:
    fd = os.memfd_create("test")
    os.write(fd, bytes(index % 251 for index in range(byte_size)))
    mirror.add(number, fd, byte_size)


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    one = Mirror()
    region_of(one, 7)
    yield one
    one.close()


@pytest.fixture
def freed() -> Freed:
    return []


VIEWS: list[Callable[[Any], Any]] = [
    lambda array: array,
    lambda array: array[1:],
    lambda array: array.view(np.float32).reshape(4, 4)[:, ::2].T,
    lambda array: memoryview(array)[1:],
    lambda array: np.frombuffer(array, np.uint8),
    lambda array: np.asarray(memoryview(array)),
    lambda array: np.from_dlpack(array),
    lambda array: iter([array[:1]]),
]


@pytest.mark.parametrize("view_of", VIEWS)
def test_a_block_is_in_use_as_long_as_any_view_of_it(
    mirror: Mirror, freed: Freed, view_of: Callable[[Any], Any]
) -> None:
    view = view_of(mirror.view(7, 128, 64, lambda *place: freed.append(place), 64))
    gc.collect()
    assert freed == []
    del view
    gc.collect()
    assert freed == [(7, 64)]


def test_a_view_is_the_shared_memory_itself(mirror: Mirror, freed: Freed) -> None:
    view = mirror.view(7, 100, 3, lambda *place: freed.append(place))
    assert (view.dtype, view.shape, view.tolist()) == (np.uint8, (3,), [100, 101, 102])
    other = mirror.view(7, 101, 10, lambda *place: freed.append(place), 100)
    view[1] = 0
    assert other[0] == 0
    del view
    assert freed == [(7, 100)], "each view hands a hold back"
    del other
    assert freed == [(7, 100), (7, 100)]


@given(
    *[st.integers(-3, PAGE + 3) | st.integers(-(2**70), 2**70) for _ in range(2)], st.none() | st.integers(-3, PAGE + 3)
)
def test_no_view_leaves_its_region(offset: int, byte_size: int, block_offset: int | None) -> None:
    mirror, freed = Mirror(), []
    region_of(mirror, 0)
    try:
        view = mirror.view(0, offset, byte_size, lambda *place: freed.append(place), block_offset)
    except ValueError as error:
        assert "shared memory region 0 has" in str(error)
        assert freed == []
        block = offset if block_offset is None else block_offset
        assert not (0 <= block <= offset <= offset + byte_size <= PAGE)
        return
    assert 0 <= offset <= offset + byte_size <= PAGE
    assert view.tolist() == [index % 251 for index in range(offset, offset + byte_size)]
    del view
    assert freed == [(0, offset if block_offset is None else block_offset)]


def test_a_region_that_was_never_announced(mirror: Mirror) -> None:
    with pytest.raises(ValueError, match="there is no shared memory region 8"):
        mirror.view(8, 0, 1, print)
    with pytest.raises(ValueError, match="there is no shared memory region 8"):
        mirror.remove(8)


PLACES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=8)


@given(PLACES, st.integers(0, 60), st.integers(0, 20), st.data())
def test_memory_is_found_in_the_views_that_live(
    places: list[tuple[int, int]], offset: int, byte_size: int, data: st.DataObject
) -> None:
    mirror = Mirror()
    region_of(mirror, 3)
    whole = mirror.view(3, 0, PAGE, lambda *_: None)
    start = address(whole)
    del whole
    views = [(mirror.view(3, at, size, lambda *_: None, at // 2), at, size) for at, size in places]
    for _ in range(data.draw(st.integers(0, len(views)))):
        views.pop(data.draw(st.integers(0, len(views) - 1)))
    expected = {(3, at // 2, offset) for _, at, size in views if at <= offset and offset + byte_size <= at + size}
    found = mirror.locate(start + offset, byte_size)
    assert found in expected if expected else found is None
    assert mirror.locate(start - 1, 1) is None
    assert mirror.locate(start + PAGE, 0) is None


def test_memory_of_a_models_output_is_found(mirror: Mirror) -> None:
    view = mirror.view(7, 64, 640, print, 64).view(np.float32).reshape(10, 16)
    assert mirror.locate(address(view), view.nbytes) == (7, 64, 64)
    assert mirror.locate(address(view[3]), 64) == (7, 64, 64 + 3 * 64)
    assert mirror.locate(address(view.copy()), 64) is None


# ---- regions


@pytest.mark.parametrize(
    ("region", "byte_size", "text"),
    [
        (7, PAGE, "region 7 was announced twice"),
        (8, PAGE + 1, f"region 8 was announced with {PAGE + 1} bytes; what came is a file of {PAGE}"),
        (8, 0, "region 8 was announced with 0 bytes"),
        (8, -1, "region 8 was announced with -1 bytes"),
        (8, 1 << 70, "region 8 was announced with"),
    ],
)
def test_a_region_that_is_not_as_announced(mirror: Mirror, region: int, byte_size: int, text: str) -> None:
    fd = os.memfd_create("test")
    os.ftruncate(fd, PAGE)
    with pytest.raises(ValueError, match=text):
        mirror.add(region, fd, byte_size)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert mirror.view(7, 5, 1, print)[0] == 5, "the others are as they were"


def test_what_is_no_file(mirror: Mirror) -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(ValueError, match="not a file"):
        mirror.add(8, read, PAGE)


def test_a_peer_cannot_use_up_all_descriptors(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "MAX_REGIONS", 2)
    region_of(mirror, 8)
    with pytest.raises(ValueError, match="more than 2 shared memory regions"):
        region_of(mirror, 9)
    assert 8 in mirror
    assert 9 not in mirror
    mirror.remove(8)
    region_of(mirror, 9)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:test")


def test_a_region_that_is_given_back_is_unmapped_with_its_last_view(freed: Freed) -> None:
    mirror = Mirror()
    region_of(mirror, 1)
    view = mirror.view(1, 3, 2, lambda *place: freed.append(place))
    before = mappings()
    mirror.remove(1)
    with pytest.raises(ValueError, match="there is no shared memory region 1"):
        mirror.view(1, 0, 1, print)
    assert view.tolist() == [3, 4]
    assert mappings() == before
    del view
    assert freed == [(1, 3)]
    assert mappings() == before - 1


def test_after_the_end_nobody_is_told(freed: Freed) -> None:
    mirror = Mirror()
    region_of(mirror, 1)
    view = mirror.view(1, 3, 2, lambda *place: freed.append(place))
    start = address(view)
    mirror.close()
    mirror.close()
    assert mirror.locate(start, 2) is None
    assert view.tolist() == [3, 4]
    del view
    assert freed == []


def test_views_die_in_any_thread_while_others_are_made(mirror: Mirror, freed: Freed) -> None:
    def work(number: int) -> None:
        for index in range(2000):
            offset = (index * 64 + number % 2 * 64) % PAGE
            view = mirror.view(7, offset, 64, lambda *place: freed.append(place))
            found = mirror.locate(address(view) + 1, 10)
            assert found == (7, offset, offset + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(freed) == 8000
    one = mirror.view(7, 0, PAGE, print)
    start = address(one)
    del one
    assert mirror.locate(start, 1) is None


# ---- two processes

PEER = """
import json, os, socket, sys
import numpy as np
from atoll.isolation.arena import Arena, Mirror

ours = socket.socket(fileno=int(sys.argv[1]))
regions = socket.socket(fileno=int(sys.argv[2]))
def announce(region, fd, byte_size):
    socket.send_fds(regions, [json.dumps([region, byte_size]).encode()], [fd])
arena = Arena(first_bytes=4096, growth_bytes=4096, prefix=sys.argv[3], announce=announce)
mirror = Mirror()
held = []
for line in ours.makefile():
    announced, place = json.loads(line)
    for region, byte_size in announced:
        message, fds, _, _ = socket.recv_fds(regions, 100, 1)
        assert json.loads(message) == [region, byte_size]
        mirror.add(region, fds[0], byte_size)
    region, offset, byte_size = place
    freed = []
    received = mirror.view(region, offset, byte_size, lambda *place: freed.append(place))
    block = arena.take(byte_size)
    np.frombuffer(block.memory, np.uint8)[:] = 255 - received
    held.append(block)
    del received
    ours.send(json.dumps([freed, [block.region, block.offset, byte_size]]).encode() + b"\\n")
"""


def test_two_processes_exchange_tensors_and_a_killed_one_leaves_nothing() -> None:
    data, data_of_peer = socket.socketpair()
    regions, regions_of_peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fds = (data_of_peer.fileno(), regions_of_peer.fileno())
    peer = subprocess.Popen([sys.executable, "-c", PEER, *map(str, fds), PREFIX], pass_fds=fds)
    announced: list[tuple[int, int]] = []

    def announce(region: int, fd: int, byte_size: int) -> None:
        socket.send_fds(regions, [json.dumps([region, byte_size]).encode()], [fd])
        announced.append((region, byte_size))

    try:
        data_of_peer.close()
        regions_of_peer.close()
        arena = Arena(first_bytes=PAGE, growth_bytes=PAGE, prefix=PREFIX, announce=announce)
        mirror, regions_known, answers = Mirror(), set[int](), data.makefile()
        for byte_size in (10, 4096, 0, 100_000, 10):
            block: Block | None = arena.take(byte_size)
            assert block is not None
            block.memory[:] = sent = os.urandom(byte_size)
            message = [announced, [block.region, block.offset, byte_size]]
            data.sendall(json.dumps(message).encode() + b"\n")
            announced.clear()
            freed, (region, offset, size) = json.loads(answers.readline())
            assert freed == [[block.region, block.offset]]
            arena.release(block.region, block.offset)
            while region not in regions_known:
                text, received, _, _ = socket.recv_fds(regions, 100, 1)
                number, region_bytes = json.loads(text)
                mirror.add(number, received[0], region_bytes)
                regions_known.add(number)
            answer = mirror.view(region, offset, size, lambda *_: None)
            assert (255 - answer).tobytes() == sent
        assert arena.used_bytes == 0
        maps = Path(f"/proc/{peer.pid}/maps").read_text()
        assert f"/dev/shm/{PREFIX}{peer.pid}_" in maps, "it does use shared memory"
        peer.send_signal(signal.SIGKILL)
        peer.wait(30)
        assert (255 - answer).tobytes() == sent, "what it sent stays readable"
        assert not [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]
    finally:
        peer.kill()
        peer.wait(30)
        data.close()
        regions.close()


FORKING = """
import os, sys
from atoll.isolation.arena import Mirror
def told(region, block):
    print("told", "parent" if os.getpid() == parent else "child", region, block, flush=True)
parent = os.getpid()
mirror = Mirror()
fd = os.memfd_create("test")
os.write(fd, b"0123456789")
mirror.add(0, fd, 10)
view = mirror.view(0, 3, 4, told)
if not os.fork():
    print("child reads", bytes(view).decode(), flush=True)
    del view
    os._exit(0)
os.wait()
del view
"""


def test_a_forked_process_gives_nothing_back() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["child reads 3456", "told parent 0 3"], done.stderr
