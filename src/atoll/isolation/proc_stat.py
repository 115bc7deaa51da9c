"""What the kernel says about a process in /proc.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessStat(NamedTuple):
    """`state` is a letter, "Z" for one that has ended; `start` a time of the kernel's own, in ticks since the machine
    started: with the pid, it names a process for good. `processor_s` is the processor time that all threads have used.
    """

    state: str
    processor_s: float
    start: int


def read_stat(pid: int) -> ProcessStat | None:
    """None where there is no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
        return ProcessStat(fields[0].decode(), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
