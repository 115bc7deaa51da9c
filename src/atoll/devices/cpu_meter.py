"""How busy the machine's CPUs are, and how full its memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuReading:
    """The machine's CPU use over the last interval (0 to 1) and its memory, in bytes."""

    utilization: float
    memory_total: int
    memory_used: int


class CpuMeter:
    """Reads Linux's /proc. The utilization is that between two readings at least `interval_s` seconds apart."""

    def __init__(self, interval_s: float, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic):
        self._interval_s = interval_s
        self._proc = proc
        self._clock = clock
        self._utilization = 0.0
        self._measured_at = clock()
        self._ticks = self._read_ticks()

    def read(self) -> CpuReading | None:
        """The reading now; None where this system has no /proc."""
        memory = self._read_memory()
        if memory is None:
            return None
        now = self._clock()
        if now - self._measured_at >= self._interval_s:
            busy, total = self._read_ticks()
            earlier_busy, earlier_total = self._ticks
            if total > earlier_total:
                self._utilization = min(max((busy - earlier_busy) / (total - earlier_total), 0.0), 1.0)
            self._ticks = busy, total
            self._measured_at = now
        total_bytes, available = memory
        return CpuReading(self._utilization, total_bytes, total_bytes - available)

    def _read_ticks(self) -> tuple[int, int]:
        """Busy and all ticks since boot, of all CPUs together; see proc_stat(5)."""
        try:
            first_line = (self._proc / "stat").read_text().partition("\n")[0]
        except OSError:
            return 0, 0
        user, nice, system, idle, iowait, irq, softirq, steal = (int(ticks) for ticks in first_line.split()[1:9])
        busy = user + nice + system + irq + softirq + steal
        return busy, busy + idle + iowait

    def _read_memory(self) -> tuple[int, int] | None:
        """Total and available bytes; see proc_meminfo(5)."""
        try:
            text = (self._proc / "meminfo").read_text()
        except OSError:
            return None
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in text.splitlines())}
        return int(fields["MemTotal"][0]) * 1024, int(fields["MemAvailable"][0]) * 1024
