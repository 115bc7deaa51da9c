"""Whether something that is done again and again leaves memory behind, in a process where others take memory, too."""

import gc
from collections.abc import Callable
from pathlib import Path
from resource import getpagesize

SETTLING = 4  # times after which a framework has made the pools that it keeps for good
CYCLES = 12
ROUNDS = 3


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def assert_nothing_stays(cycle: Callable[[], object], size: int) -> None:
    """That not each cycle leaves `size` bytes, which is what it takes.

    What stays grows in every round; what a pool, an allocator or a thread of another test takes does not.
    """
    grown = []
    for _ in range(SETTLING):
        cycle()
    for _ in range(ROUNDS):
        gc.collect()
        before = resident_bytes()
        for _ in range(CYCLES):
            cycle()
        gc.collect()
        grown.append(resident_bytes() - before)
        if grown[-1] < CYCLES * size / 2:
            return
    raise AssertionError(f"{CYCLES} times {size} bytes: it grew by {grown}")
