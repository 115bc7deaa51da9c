"""What the lifecycle benchmark makes of what it measured: sizes from /proc, growth, and figures per model."""

import os
from pathlib import Path

import pytest
from benchmarks.lifecycle.cycles import Cycle, Cycles, shown
from benchmarks.lifecycle.memory import Footprint, per_model
from benchmarks.lifecycle.resident import (
    Resident,
    forget_peak,
    parse_sizes,
    parse_threads,
    peak_bytes,
    read_tree,
    resident_bytes,
)
from benchmarks.lifecycle.startup import Setting, Start, of_setting, order, seconds_per_model, settings

ROLLUP = """558c3bb2c000-7ffc79fb0000 ---p 00000000 00:00 0                          [rollup]
Rss:               90896 kB
Pss:               71200 kB
"""


def test_sizes_are_bytes_and_other_lines_are_left_out() -> None:
    assert parse_sizes(ROLLUP) == {"Rss": 90896 * 1024, "Pss": 71200 * 1024}
    assert parse_sizes("Name:\tpython\nVmHWM:\t    12 kB\nThreads:\t3\n") == {"VmHWM": 12 * 1024}


def test_threads_are_read_or_missed() -> None:
    assert parse_threads("Name:\tpython\nThreads:\t12\n") == 12
    with pytest.raises(ValueError, match="Threads"):
        parse_threads("Name:\tpython\n")


def test_a_tree_is_the_sum_of_its_processes(tmp_path: Path) -> None:
    for pid, parent, kilobytes in ((10, 1, 100), (11, 10, 30), (12, 1, 7_000)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a b) S {parent} {pid} {pid} " + "0 " * 40)
        (tmp_path / str(pid) / "smaps_rollup").write_text(f"Rss: {kilobytes} kB\nPss: {kilobytes // 10} kB\n")
        (tmp_path / str(pid) / "status").write_text("Threads:\t2\n")
    assert read_tree(10, tmp_path) == Resident(130 * 1024, 13 * 1024, 4, 2)


def test_the_peak_is_of_what_came_after_it_was_forgotten() -> None:
    size = 64_000_000
    ballast = b"x" * size
    assert peak_bytes(os.getpid()) > size
    del ballast
    forget_peak(os.getpid())
    now = resident_bytes(os.getpid())
    assert abs(peak_bytes(os.getpid()) - now) < size / 4


def cycles(*unloaded: int, before: int = 50, file_bytes: int = 100) -> Cycles:
    return Cycles(
        file_bytes, 1, before, tuple(Cycle(number, 200, size, 300, 0.1, 0.1) for number, size in enumerate(unloaded, 1))
    )


def test_growth_is_counted_from_the_first_cycle() -> None:
    found = cycles(90, 92, 94, 98)
    assert found.growth_per_cycle == pytest.approx(8 / 3)
    assert found.kept == 48
    assert not found.leaks


def test_more_than_a_tenth_of_the_model_is_a_leak() -> None:
    assert not cycles(90, 100).leaks
    assert cycles(90, 101).leaks


def test_a_single_cycle_does_not_grow() -> None:
    assert cycles(90).growth_per_cycle == 0


def test_the_report_shows_the_last_cycle_too() -> None:
    assert [one.number for one in shown(cycles(*range(12)).cycles)] == [1, 10, 12]


def test_memory_per_model_is_a_difference() -> None:
    one = Footprint("atoll", 1, Resident(1_000, 900, 8))
    many = Footprint("atoll", 11, Resident(6_000, 4_900, 38))
    other = Footprint("rival", 1, Resident(77_000, 77_000, 1))
    assert per_model([other, one, many], one) is None
    found = per_model([other, one, many], many)
    assert found is not None
    assert (found.resident_bytes, found.proportional_bytes, found.threads) == (500, 400, 3)


def test_start_up_is_measured_in_turns_and_backwards_every_second_round() -> None:
    found = settings("atoll", [1, 10], [2], "rival", [1, 5])
    assert [(one.side, one.count, one.threads) for one in found] == [
        ("atoll", 1, None),
        ("rival", 1, None),
        ("rival", 5, None),
        ("atoll", 10, None),
        ("atoll", 10, 2),
    ]
    plan = list(order(found, 2))
    assert [(number, one.side, one.count) for number, one in plan[:2]] == [(0, "atoll", 1), (0, "rival", 1)]
    assert [one for number, one in plan if number == 1] == found
    assert [one for number, one in plan if number == 2] == found[::-1]


def test_without_a_rival_only_atoll_is_started() -> None:
    assert {one.side for one in settings("atoll", [1, 10], [], "", [1, 5])} == {"atoll"}


def test_the_number_of_threads_is_the_servers_own_option() -> None:
    assert Setting("atoll", "atoll serve", 1).full_command == "atoll serve"
    assert Setting("atoll", "atoll serve", 9, 2).full_command == "atoll serve --model-load-thread-count=2"


def test_seconds_per_model_are_made_within_a_round() -> None:
    starts = [
        Start(1, "atoll", 1, None, 1.0),
        Start(1, "atoll", 11, None, 2.0),
        Start(2, "atoll", 1, None, 2.0),  # the machine is half as fast
        Start(2, "atoll", 11, None, 4.0),
        Start(3, "atoll", 11, None, 9.0),
        Start(1, "rival", 1, None, 50.0),
    ]
    found = seconds_per_model(starts, "atoll", 11, None)
    assert found is not None
    assert (found.low, found.high, found.runs) == (pytest.approx(0.1), pytest.approx(0.2), 2)
    assert seconds_per_model(starts, "atoll", 1, None) is None
    median = of_setting(starts, "atoll", 11, None)
    assert median is not None
    assert median.median == 4.0
