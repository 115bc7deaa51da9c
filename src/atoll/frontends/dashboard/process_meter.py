"""How much of the machine the server's own process uses."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """`cores`: of CPU time over the last interval, 1.0 is one core all the time. `resident_bytes`: memory; None where
    the system does not tell.
    """

    cores: float
    resident_bytes: int | None


class ProcessMeter:
    """`cores` is measured between two readings; the first one has none."""

    def __init__(self, proc: Path = Path("/proc")):
        self._memory = proc / "self" / "statm"
        self._read_at = time.monotonic()
        self._spent_s = time.process_time()

    def read(self) -> ProcessReading:
        """The reading now."""
        now, spent_s = time.monotonic(), time.process_time()
        passed_s = now - self._read_at
        cores = (spent_s - self._spent_s) / passed_s if passed_s > 0 else 0.0
        self._read_at, self._spent_s = now, spent_s
        try:
            resident = int(self._memory.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            resident = None
        return ProcessReading(cores, resident)
