"""What the kernel says about a process in /proc.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import os
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MAX_THREADS = 500


class ProcessStat(NamedTuple):
    """`state` is the main thread's letter, "Z" for one that has ended; `start` a time of the kernel's own, in ticks
    since the machine started: with the pid, it names a process for good. `processor_s` is the processor time that all
    threads have used.
    """

    state: str
    processor_s: float
    start: int


def read_stat(pid: int | str, proc: str = "/proc") -> ProcessStat | None:
    """None where there is no such process, or no /proc. `pid`: also "self"."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
        return ProcessStat(fields[0].decode(), (int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def read_thread_states(pid: int) -> str:
    """The letters of a process's threads, of 500 at most; empty where it has ended."""
    states = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task")[:_MAX_THREADS]:
            with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                states.append(file.read().rpartition(b")")[2].split()[0].decode())
    except (OSError, IndexError):  # threads end while they are counted
        pass
    return "".join(states)


def proportional_bytes(pid: int) -> int:
    """What a process has in memory, each page shared out among the processes that have it; 0 where nobody says."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0
