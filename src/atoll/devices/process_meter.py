"""What this process uses: CPU time, memory, open files."""

import os
from dataclasses import dataclass
from pathlib import Path


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
        try:
            # see proc_pid_stat(5): the name, which comes second, is in parentheses and may hold anything
            fields = (own / "stat").read_text().rpartition(")")[2].split()
            resident_pages = int((own / "statm").read_text().split()[1])
            open_files = len(os.listdir(own / "fd"))
        except OSError:
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        user, system, started = int(fields[11]), int(fields[12]), int(fields[19])
        return ProcessReading(
            (user + system) / ticks,
            resident_pages * os.sysconf("SC_PAGE_SIZE"),
            self._booted_s + started / ticks,
            open_files,
        )

    def _read_boot_time(self) -> int:
        """Seconds since the epoch; see proc_stat(5)."""
        try:
            lines = (self._proc / "stat").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("btime ")), 0)
