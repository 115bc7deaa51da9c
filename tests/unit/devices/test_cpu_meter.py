"""The CPU's numbers, from a /proc of files."""

from pathlib import Path

from atoll.devices.cpu_meter import CpuMeter, CpuReading


def test_cpu_use_is_that_of_the_last_interval(tmp_path: Path) -> None:
    def ticks(busy: int, idle: int) -> None:
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n")

    now = 0.0
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n")
    ticks(100, 100)
    meter = CpuMeter(2.0, tmp_path, lambda: now)
    ticks(130, 110)
    assert meter.read() == CpuReading(0.0, 1_024_000, 614_400)  # the interval is not over
    now = 2.0
    assert meter.read() == CpuReading(0.75, 1_024_000, 614_400)
    ticks(130, 210)
    now = 3.0
    assert meter.read() == CpuReading(0.75, 1_024_000, 614_400)
    now = 4.0
    assert meter.read() == CpuReading(0.0, 1_024_000, 614_400)


def test_a_system_without_proc(tmp_path: Path) -> None:
    assert CpuMeter(2.0, tmp_path / "nothing").read() is None
