"""How much processor time a server, with its child processes, and the whole machine have used: from /proc (Linux)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessStat:
    """The fields of /proc/PID/stat that say whose child a process is and what it has used, in clock ticks."""

    pid: int
    parent: int
    session: int
    ticks: int


def parse_stat(text: str) -> ProcessStat:
    """One line of /proc/PID/stat, as proc(5) lays it out.

    The ticks are user and system time, the process's own and that of children it has waited for: when a child ends, its
    time moves to the parent and the sum over the tree stays whole.
    """
    pid, _, rest = text.partition(" (")
    # The command's name may hold blanks and parentheses; what follows its last one is plain numbers.
    fields = rest[rest.rindex(")") + 2 :].split()
    return ProcessStat(
        pid=int(pid), parent=int(fields[1]), session=int(fields[3]), ticks=sum(int(field) for field in fields[11:15])
    )


def tree_of(stats: Iterable[ProcessStat], root: int) -> list[ProcessStat]:
    """`root`, its descendants, and orphans of theirs: whoever else is in the session that `root` leads."""
    by_pid = {stat.pid: stat for stat in stats}
    belongs: dict[int, bool] = {root: True}

    def is_member(stat: ProcessStat) -> bool:
        if stat.pid not in belongs:
            belongs[stat.pid] = False  # ends the walk should a reused pid ever close a circle
            parent = by_pid.get(stat.parent)
            belongs[stat.pid] = stat.session == root or (parent is not None and is_member(parent))
        return belongs[stat.pid]

    return [stat for stat in by_pid.values() if is_member(stat)]


def tree_ticks(stats: Iterable[ProcessStat], root: int) -> int:
    """The ticks of the process tree of `root`."""
    return sum(stat.ticks for stat in tree_of(stats, root))


def tree_seconds(root: int, proc: Path = Path("/proc")) -> float:
    """Processor seconds that the process tree of `root` has used so far, to one clock tick (usually 10 ms)."""
    return tree_ticks(process_stats(proc), root) / os.sysconf("SC_CLK_TCK")


def process_stats(proc: Path = Path("/proc")) -> list[ProcessStat]:
    """Every process of this machine."""
    stats = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                stats.append(parse_stat((entry / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended since the listing
    return stats


def parse_busy_ticks(text: str) -> int:
    """The first line of /proc/stat: ticks in which a core worked, or was given to another virtual machine (steal).

    Of its fields idle and iowait are left out, and so are the last two, which user and nice already hold.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in text.split()[1:9])
    return user + nice + system + irq + softirq + steal


def machine_seconds(stat: Path = Path("/proc/stat")) -> float:
    """Processor seconds that all cores together have worked since the machine started."""
    return parse_busy_ticks(stat.read_text()) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuSeconds:
    """Who has used how much so far: the server being measured, the idle ones, the load generator, and all that runs."""

    server: float
    idle_servers: float
    generator: float
    machine: float

    def since(self, earlier: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(
            self.server - earlier.server,
            self.idle_servers - earlier.idle_servers,
            self.generator - earlier.generator,
            self.machine - earlier.machine,
        )

    @property
    def foreign(self) -> float:
        """What nobody of the benchmark used; the clocks' resolution can make it slightly negative."""
        return self.machine - self.server - self.idle_servers - self.generator
