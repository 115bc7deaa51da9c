"""A program under supervision: what it prints, how it ends, and that nothing of it stays."""

import os
import sys
import time
from pathlib import Path

import pytest

from atoll.backends.python.environments import uv
from atoll.backends.python.environments.uv import Ended, run, uv_environment

SOON = 60.0


def python(code: str, tmp_path: Path, deadline_s: float = SOON, **options) -> Ended:  # type: ignore[no-untyped-def]
    return run(
        [sys.executable, "-c", code],
        environment=dict(os.environ),
        directory=tmp_path,
        deadline=time.monotonic() + deadline_s,
        **options,
    )


def test_lines_of_both_streams_and_the_status_arrive(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.stdout.write('three'); sys.exit(4)"
    assert python(code, tmp_path, on_line=lines.append) == Ended(4, "one\ntwo\nthree")
    assert lines == ["one", "two", "three"]


def test_it_runs_where_it_is_told_to_and_inherits_the_lock_alone(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock, (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        code = (
            f"import os\nprint(os.getcwd())\nos.fstat({lock.fileno()})\nprint('lock')\n"
            f"try: os.fstat({other.fileno()})\nexcept OSError: print('no other')"
        )
        ended = python(code, tmp_path, lock=lock.fileno())
    assert ended.text.splitlines() == [str(tmp_path.resolve()), "lock", "no other"]


def test_a_flood_is_bounded(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('x' * 3_000_000 + '\\n'); [print(n) for n in range(5000)]; print('y' * 9000)"
    ended = python(code, tmp_path)
    assert ended.status == 0
    assert len(ended.text) < 200_000
    assert ended.text.splitlines()[-2] == "4999"


@pytest.mark.slow
def test_what_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); child.wait()"
    )
    lines: list[str] = []
    assert python(code, tmp_path, 2.0, on_line=lines.append).status is None
    pid = int(lines[0])
    for _ in range(600):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the grandchild is still there")


def test_what_stays_behind_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A process that keeps the output open after the program has ended."""
    code = "import subprocess; child = subprocess.Popen(['sleep', '600'], start_new_session=True); print(child.pid)"
    ended = python(code, tmp_path)
    os.kill(int(ended.text), 9)
    assert ended.status == 0


def test_silence_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "_HEARTBEAT_S", 0.0)
    waits: list[float] = []
    code = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)"

    def waited(seconds: float) -> None:
        waits.append(seconds)
        (tmp_path / "go").touch()

    assert python(code, tmp_path, on_wait=waited).status == 0
    assert waits


def test_an_interruption_kills_the_program(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    pids = tmp_path / "pid"
    code = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); print('x', flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        python(code, tmp_path, on_line=interrupt)
    assert not Path(f"/proc/{pids.read_text()}").exists()


def test_other_environments_are_not_what_uv_sees() -> None:
    found = uv_environment({"VIRTUAL_ENV": "/a", "PYTHONPATH": "/b", "HTTPS_PROXY": "p", "UV_INDEX": "i"})
    assert found.keys() >= {"HTTPS_PROXY", "UV_INDEX", "UV_PYTHON_DOWNLOADS"}
    assert not found.keys() & {"VIRTUAL_ENV", "PYTHONPATH"}


@pytest.mark.parametrize(
    ("status", "text", "full"),
    [
        (2, "failed to copy file: No space left on device (os error 28)", True),
        (2, "Disk quota exceeded (os error 122)", True),
        (0, "warning: No space left on device", False),
        (2, "No solution found", False),
    ],
)
def test_a_full_disk_is_recognised(status: int, text: str, full: bool) -> None:
    assert Ended(status, text).disk_is_full is full


def test_a_line_without_an_end_is_not_kept_whole() -> None:
    lines: list[str] = []
    output = uv._Output(lines.append)
    for _ in range(50):
        output.add(b"x" * 65536)
    assert len(output._rest) <= 2000
    output.add(b"y\nnext\n")
    assert lines == ["x" * 2000, "next"]
