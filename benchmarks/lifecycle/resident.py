"""What a server has in memory: from /proc (Linux)."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu_time import process_stats, tree_of

# Makes the system forget the peak so far; see proc_pid_clear_refs(5).
_FORGET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Resident:
    """Of one or more processes together. `proportional`: pages that several processes share count by their share."""

    resident_bytes: int
    proportional_bytes: int
    threads: int
    processes: int = 1

    def __add__(self, other: "Resident") -> "Resident":
        return Resident(
            self.resident_bytes + other.resident_bytes,
            self.proportional_bytes + other.proportional_bytes,
            self.threads + other.threads,
            self.processes + other.processes,
        )


NOTHING = Resident(0, 0, 0, 0)


def parse_sizes(text: str) -> dict[str, int]:
    """The lines `Name:   123 kB` of /proc/PID/smaps_rollup or status, in bytes; other lines are left out."""
    sizes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        match rest.split():
            case [number, "kB"] if number.isdigit():
                sizes[name] = int(number) * 1024
    return sizes


def parse_threads(text: str) -> int:
    """How many threads /proc/PID/status says there are."""
    for line in text.splitlines():
        if line.startswith("Threads:"):
            return int(line.split()[1])
    raise ValueError(f"no line 'Threads:' in a process's status:\n{text}")


def read_process(pid: int, proc: Path = Path("/proc")) -> Resident:
    """One process. Raises OSError where there is none."""
    sizes = parse_sizes((proc / str(pid) / "smaps_rollup").read_text())
    return Resident(sizes["Rss"], sizes["Pss"], parse_threads((proc / str(pid) / "status").read_text()))


def read_tree(root: int, proc: Path = Path("/proc")) -> Resident:
    """A process and all its children together."""
    found = NOTHING
    for stat in tree_of(process_stats(proc), root):
        found += read_process(stat.pid, proc)
    return found


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """What one process has in memory now."""
    return read_process(pid, proc).resident_bytes


def peak_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """The most that one process had in memory since its start, or since `forget_peak`."""
    return parse_sizes((proc / str(pid) / "status").read_text())["VmHWM"]


def forget_peak(pid: int, proc: Path = Path("/proc")) -> None:
    """Let `peak_bytes` begin anew."""
    (proc / str(pid) / "clear_refs").write_text(_FORGET_PEAK)
