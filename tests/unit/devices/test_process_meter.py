"""What a process uses, from a /proc of files and the real one."""

import os
import time
from pathlib import Path

from atoll.devices.process_meter import ProcessMeter, ProcessReading


def test_a_reading(tmp_path: Path) -> None:
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1700000000\n")
    own = tmp_path / "self"
    (own / "fd").mkdir(parents=True)
    for number in range(3):
        (own / "fd" / str(number)).touch()
    fields = ["S", *["0"] * 10, str(2 * ticks), str(3 * ticks), *["0"] * 6, str(50 * ticks), "0"]
    (own / "stat").write_text(f"77 (a) name) {' '.join(fields)}\n")
    (own / "statm").write_text("900 10 5 1 0 300 0\n")
    assert ProcessMeter(tmp_path).read() == ProcessReading(5.0, 10 * page, 1_700_000_050.0, 3)


def test_a_system_without_proc(tmp_path: Path) -> None:
    assert ProcessMeter(tmp_path / "nothing").read() is None


def test_this_process() -> None:
    found = ProcessMeter().read()
    assert found is not None
    assert found.cpu_s > 0
    assert found.resident_bytes > 1_000_000
    assert found.started_s < time.time()
    assert found.open_files > 2
