"""What this process uses: CPU time, memory, open files."""

import os
from dataclasses import dataclass
from pathlib import Path

from atoll.devices.proc_stat import TICKS_PER_S, read_stat


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """`cpu_s`: of all its threads, in user and kernel mode. `started_s`: seconds since the epoch."""

    cpu_s: float
    resident_bytes: int
    started_s: float
    open_files: int


class ProcessMeter:
    """Reads Linux's /proc."""

    def __init__(self, proc: Path = Path("/proc")):
        self._proc = proc
        self._booted_s = self._read_boot_time()

    def read(self) -> ProcessReading | None:
        """The reading now; None where this system has no /proc."""
        own = self._proc / "self"
        stat = read_stat("self", str(self._proc))
        if stat is None:
            return None
        try:
            resident_pages = int((own / "statm").read_text().split()[1])
            open_files = len(os.listdir(own / "fd"))
        except OSError:
            return None
        return ProcessReading(
            stat.processor_s,
            resident_pages * os.sysconf("SC_PAGE_SIZE"),
            self._booted_s + stat.start / TICKS_PER_S,
            open_files,
        )

    def _read_boot_time(self) -> int:
        """Seconds since the epoch; see proc_stat(5)."""
        try:
            lines = (self._proc / "stat").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("btime ")), 0)
