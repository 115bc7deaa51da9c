"""What is freed in another thread's arena goes back to the system, while the process otherwise keeps freed memory."""

import platform
import subprocess
import sys

import pytest

from atoll.models import memory
from atoll.models.memory import ArenaHold, keep_freed_memory

# In a process of its own, because the thresholds belong to the whole process. A thread fills its arena with 40 MB,
# another frees them.
PROGRAM = """
import ctypes, sys, threading
from atoll.models.memory import ArenaHold, give_back_freed, keep_freed_memory, resident_bytes

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "keep":
    assert keep_freed_memory(256 << 20)
blocks, holds, filled, over = [], [], threading.Event(), threading.Event()

def fill():
    holds.append(ArenaHold())
    for _ in range(40):
        blocks.append(libc.malloc(1_000_000))
        libc.memset(blocks[-1], 1, 1_000_000)
    filled.set()
    over.wait()

thread = threading.Thread(target=fill)
before = resident_bytes()
thread.start()
filled.wait()
full = resident_bytes()
for block in blocks:
    libc.free(block)
give_back_freed()
kept = resident_bytes()
holds[0].release()
released = resident_bytes()
holds[0].release()
again = libc.malloc(64_000_000)  # still below the threshold that was set: it stays when it is freed
libc.memset(again, 1, 64_000_000)
libc.free(again)
stays = resident_bytes()
over.set()
thread.join()
print(*(size - before for size in (full, kept, released, stays)))
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library keeps freed memory its own way")


def sizes(mode: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


@glibc
def test_the_end_of_another_threads_arena_goes_back_when_its_hold_is_released() -> None:
    full, kept, released, stays = sizes("keep")
    assert full > 39_000_000
    assert kept > 30_000_000  # or the hold is not needed, and this test says nothing
    assert released < 5_000_000
    assert stays > 60_000_000  # the threshold is what it was


@glibc
def test_a_process_that_embeds_the_library_keeps_its_thresholds() -> None:
    *_, released, stays = sizes("leave")
    assert released < 5_000_000
    assert stays < 10_000_000  # 64 MB is mapped, and unmapped when freed, as by default


def test_where_the_c_library_is_another_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_allocation", lambda: None)
    hold = ArenaHold()
    hold.renew()
    hold.release()
    assert not keep_freed_memory(1 << 20)
    assert not memory.give_back_freed()


def test_nothing_is_kept_for_zero_bytes() -> None:
    assert not keep_freed_memory(0)


@glibc
def test_a_hold_that_nobody_releases_is_freed_with_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    real = memory._allocation()
    freed = []

    class Recording:
        malloc, malloc_trim = real.malloc, real.malloc_trim

        @staticmethod
        def free(block: int) -> None:
            freed.append(block)
            real.free(block)

    monkeypatch.setattr(memory, "_allocation", Recording)
    monkeypatch.setattr(memory, "_kept_bytes", 0)  # a server that ran in this process may have set it
    hold = ArenaHold()
    hold.renew()
    assert len(freed) == 1
    del hold
    assert len(freed) == 2
