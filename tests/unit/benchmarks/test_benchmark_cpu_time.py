"""Processor time of a process tree, from texts as /proc has them and from a real child process."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.cpu_time import (
    CpuSeconds,
    ProcessStat,
    machine_seconds,
    parse_busy_ticks,
    parse_stat,
    tree_seconds,
    tree_ticks,
)

# pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime ...
STAT = "4312 (a (strange) name) S 4087 4085 2639 0 -1 4194560 9 0 0 0 700 30 5 2 20 0 5 0 12345 1000000 900\n"


def test_stat_line_whose_command_has_parentheses_and_blanks() -> None:
    assert parse_stat(STAT) == ProcessStat(pid=4312, parent=4087, session=2639, ticks=700 + 30 + 5 + 2)


def test_tree_holds_descendants_and_orphans_of_its_session_and_nobody_else() -> None:
    stats = [
        ProcessStat(pid=10, parent=1, session=10, ticks=1),
        ProcessStat(pid=11, parent=10, session=10, ticks=2),
        ProcessStat(pid=12, parent=11, session=12, ticks=4),  # a grandchild with a session of its own
        ProcessStat(pid=13, parent=1, session=10, ticks=8),  # orphaned: its parent ended, its session stayed
        ProcessStat(pid=14, parent=1, session=14, ticks=16),
        ProcessStat(pid=1, parent=0, session=1, ticks=32),
    ]
    assert tree_ticks(stats, 10) == 1 + 2 + 4 + 8


def test_tree_with_a_circle_of_parents_ends() -> None:
    stats = [ProcessStat(pid=2, parent=3, session=0, ticks=1), ProcessStat(pid=3, parent=2, session=0, ticks=1)]
    assert tree_ticks(stats, 10) == 0


def test_busy_ticks_are_all_but_idle_iowait_and_what_is_counted_twice() -> None:
    assert parse_busy_ticks("cpu  1 2 4 1000 2000 8 16 32 5000 6000\ncpu0 1 1 1 1 1 1 1 1 1 1\n") == 63


def test_foreign_time_is_what_nobody_of_the_benchmark_used() -> None:
    before = CpuSeconds(server=10, idle_servers=5, generator=1, machine=100)
    after = CpuSeconds(server=12, idle_servers=5.5, generator=2, machine=104)
    assert after.since(before).foreign == pytest.approx(0.5)


def test_child_processes_count_while_they_run_and_after_they_were_waited_for(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    script = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)\n"
        "print('burnt', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        used, everything = tree_seconds(process.pid), machine_seconds()
        process.communicate()
    assert 0.19 <= used <= everything  # one tick of rounding below what the child saw itself use
