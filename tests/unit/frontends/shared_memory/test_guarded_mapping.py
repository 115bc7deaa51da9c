"""Mapped files that their owners cut short: whoever reads them lives on."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.unit.frontends.shared_memory.objects import SharedObject, shared_object

guarded = pytest.importorskip("atoll.frontends.shared_memory._guarded", reason="no C compiler where this was installed")
PAGE = os.sysconf("SC_PAGESIZE")


def mapping(one: SharedObject, offset: int = 0, byte_size: int | None = None):
    fd = os.open(one.path, os.O_RDWR)
    try:
        return guarded.GuardedMapping(fd, offset, one.path.stat().st_size - offset if byte_size is None else byte_size)
    finally:
        os.close(fd)


def mapped_here(one: SharedObject) -> bool:
    return one.key in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, PAGE + 7])
def test_it_shows_the_bytes_from_the_offset_on_and_takes_others(offset):
    with shared_object(3 * PAGE) as one:
        one.fill(b"hello", offset)
        made = mapping(one, offset, 100)
        view = memoryview(made)
        assert (len(made), len(view), view.format, view.readonly) == (100, 100, "B", False)
        assert bytes(view[:5]) == b"hello"
        view[5:7] = b"!!"
        assert one.bytes()[offset : offset + 8] == b"hello!!\0"


def test_it_is_unmapped_with_its_last_view():
    with shared_object() as one:
        made = mapping(one)
        view = memoryview(made)[10:20]
        array = np.frombuffer(view, np.uint8)
        del made, view
        assert mapped_here(one)
        assert array.sum() == 0
        del array
        assert not mapped_here(one)


@pytest.mark.parametrize("left", [0, 1, PAGE, 2 * PAGE + 1])
def test_what_is_cut_off_is_zeros_and_said_to_be_lost(left):
    with shared_object(4 * PAGE) as one:
        one.fill(b"\7" * 4 * PAGE)
        made = mapping(one)
        array = np.frombuffer(made, np.uint8)
        assert array.all()
        one.truncate(left)
        assert not made.lost, "nobody has touched it"
        assert int(array.sum(dtype=np.int64)) == 7 * left
        assert made.lost
        array[:] = 1  # what is written is for nobody, and harms nobody
        assert one.path.stat().st_size == left


def test_a_neighbour_is_not_touched():
    with shared_object(4 * PAGE) as one, shared_object(4 * PAGE) as other:
        other.fill(b"\7" * 4 * PAGE)
        lost, kept = mapping(one), mapping(other)
        one.truncate(0)
        assert not np.frombuffer(lost, np.uint8).any()
        assert np.frombuffer(kept, np.uint8).all()
        assert (lost.lost, kept.lost) == (True, False)


def test_many_threads_may_meet_the_end_at_once():
    with shared_object(64 * PAGE) as one:
        made = mapping(one)
        array = np.frombuffer(made, np.uint8)
        barrier = threading.Barrier(8)
        sums = []

        def read() -> None:
            barrier.wait()
            sums.append(int(array.sum(dtype=np.int64)))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        one.truncate(PAGE)
        for thread in threads:
            thread.join(30)
        assert sums == [0] * 8
        array.sum()
        assert made.lost


def test_slots_are_used_again():
    with shared_object() as one:
        for _ in range(20_000):
            mapping(one, 0, 8)


def test_nothing_is_mapped_where_there_is_nothing():
    with shared_object() as one:
        for size in (0, -1):
            with pytest.raises(ValueError, match="expected 1 at least"):
                mapping(one, 0, size)
    reader, writer = os.pipe()
    with pytest.raises(OSError, match=r"device|permitted|denied"):
        guarded.GuardedMapping(reader, 0, 10)
    os.close(reader)
    os.close(writer)


_OTHERS = """
import faulthandler, mmap, os, signal, sys
from atoll.frontends.shared_memory._guarded import GuardedMapping
order, what = sys.argv[1:]
if order == "before":
    faulthandler.enable()
fd = os.memfd_create("ours"); os.ftruncate(fd, 8192)
ours = GuardedMapping(fd, 0, 8192)
if order == "after":
    faulthandler.enable()
    ours = GuardedMapping(fd, 0, 8192)  # who was quicker does not keep it
os.ftruncate(fd, 0)
assert memoryview(ours)[0] == 0 and ours.lost
print("survived", flush=True)
if what == "fault":
    theirs = os.memfd_create("theirs"); os.ftruncate(theirs, 4096)
    memory = mmap.mmap(theirs, 4096)
    os.ftruncate(theirs, 0)
    memory[0]
else:
    os.kill(os.getpid(), signal.SIGBUS)
print("not reached", flush=True)
"""


@pytest.mark.parametrize("order", ["none", "before", "after"])
@pytest.mark.parametrize("what", ["fault", "signal"])
def test_a_bus_error_elsewhere_is_what_it_was(order, what):
    """The end of the process, after whoever else wants to hear of it."""
    command = [sys.executable, "-c", _OTHERS, order, what]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "survived\n"
    assert ended.returncode == -signal.SIGBUS
    assert ("Bus error" in ended.stderr) is (order != "none")
