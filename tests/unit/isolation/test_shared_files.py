"""Shared files: their memory is claimed at once, their names do not outlive anybody, and there is always a way on."""

import errno
import fcntl
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.isolation import shared_files
from atoll.isolation.shared_files import SharedFile, create_shared_file, sweep

MIB = 1 << 20
PREFIX = f"atoll_test_{os.getpid()}_"


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "_said", set())


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[str]:
    """A file system in memory with room for 1 MiB, as a container's /dev/shm is too small."""
    mount, folder = shutil.which("mount"), tmp_path / "shm"
    folder.mkdir()
    if mount is None:
        pytest.skip("there is no mount program")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
    yield str(folder)
    subprocess.run(["umount", folder], check=True)


def made(byte_size: int, directory: str, said: list[str] | None = None) -> SharedFile | None:
    file = create_shared_file(
        byte_size, PREFIX, directory=directory, on_fallback=said.append if said is not None else None
    )
    if file is not None:
        os.close(file.fd)
    return file


def test_a_file_has_its_memory_and_no_name() -> None:
    file = create_shared_file(MIB, PREFIX)
    assert file is not None
    try:
        status = os.fstat(file.fd)
        assert (file.kind, file.byte_size, status.st_size) == ("shm", MIB, MIB)
        assert status.st_blocks * 512 >= MIB
        assert status.st_nlink == 0
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert not os.get_inheritable(file.fd)
        assert os.readlink(f"/proc/self/fd/{file.fd}").startswith(f"/dev/shm/{PREFIX}{os.getpid()}_")
        assert os.pread(file.fd, 100, MIB - 100) == bytes(100)
        assert not [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]
    finally:
        os.close(file.fd)


def test_where_there_is_too_little_room_a_file_in_memory_takes_over(tiny: str) -> None:
    said: list[str] = []
    small = made(MIB // 2, tiny, said)
    assert small is not None
    assert small.kind == "shm"
    assert said == []
    file = create_shared_file(2 * MIB, PREFIX, directory=tiny, on_fallback=said.append)
    assert file is not None
    try:
        assert file.kind == "memfd"
        assert os.fstat(file.fd).st_blocks * 512 >= 2 * MIB
        assert not os.get_inheritable(file.fd)
        with pytest.raises(PermissionError):
            os.ftruncate(file.fd, 4096)  # what is mapped elsewhere cannot be cut off
        assert fcntl.fcntl(file.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    finally:
        os.close(file.fd)
    assert len(said) == 1
    for word in (tiny, "2097152 bytes more", "it has 1048576 bytes, of which 1048576 are free"):
        assert word in said[0]
    assert os.listdir(tiny) == []
    assert os.statvfs(tiny).f_bavail == os.statvfs(tiny).f_blocks, "a refused file keeps no memory"


def test_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            file = made(4096, str(tmp_path / "absent"))
            assert file is not None
            assert file.kind == "memfd"
    assert len(caplog.records) == 1
    assert "absent cannot hold 4096 bytes more (No such file or directory)" in caplog.text


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    said: list[str] = []
    file = made(4096, str(tmp_path / "file"), said)
    assert file is not None
    assert file.kind == "memfd"
    assert "Not a directory" in said[0]


def test_where_there_is_nothing_nothing_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    said: list[str] = []
    assert made(4096, str(tmp_path / "absent"), said) is None
    assert made(4096, str(tmp_path / "absent"), said) is None
    assert len(said) == 1
    assert "through sockets" in said[0]


def test_no_memory_at_all_leaves_no_descriptor_open(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, byte_size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    before = os.listdir("/proc/self/fd")
    assert made(4096, tiny, []) is None
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert os.listdir(tiny) == []


@pytest.mark.parametrize("prefix", ["../etc/", "a/b", "nul\0", "x" * 201])
def test_a_prefix_that_is_no_part_of_a_name(prefix: str) -> None:
    with pytest.raises(ValueError, match="shared memory region prefix"):
        create_shared_file(4096, prefix)


@pytest.mark.parametrize("byte_size", [0, -1])
def test_a_file_of_nothing(byte_size: int) -> None:
    with pytest.raises(ValueError, match="expected 1 at least"):
        create_shared_file(byte_size, PREFIX)


def test_the_longest_prefix_fits() -> None:
    file = create_shared_file(4096, PREFIX + "x" * (200 - len(PREFIX)))
    assert file is not None
    assert file.kind == "shm"
    os.close(file.fd)


# ---- what the dead leave behind

OWNER = """
import os, sys, time
from atoll.isolation import shared_files
if sys.argv[2] == "in the moment between":
    os.unlink = lambda path: (print("made", flush=True), time.sleep(600))
files = [shared_files.create_shared_file(4096, sys.argv[1]) for _ in range(3)]
print("made", flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, PREFIX, request.param], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "made\n"
        yield process
        process.kill()
        process.wait(30)


def left() -> list[str]:
    return [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]


@pytest.mark.parametrize("owner", ["at rest"], indirect=True)
def test_a_killed_owner_leaves_nothing(owner: subprocess.Popen[str]) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait(30)
    assert left() == []


@pytest.mark.parametrize("owner", ["in the moment between"], indirect=True)
def test_what_is_killed_before_its_name_is_gone_is_swept(owner: subprocess.Popen[str]) -> None:
    names = left()
    assert len(names) == 1
    assert names[0].startswith(f"{PREFIX}{owner.pid}_")
    assert sweep(PREFIX) == [], "a living process's file was taken"
    owner.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # a zombie: nobody has asked how it ended
    assert sweep(PREFIX) == names
    assert left() == []


def test_sweeping_touches_the_files_of_the_dead_and_nothing_else(tmp_path: Path) -> None:
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    ended = subprocess.Popen(["true"])
    ended.wait(30)
    mine = f"p_{os.getpid()}_{start}_0"
    dead = [f"p_{os.getpid()}_{start + 1}_0", f"p_{ended.pid}_{start}_7"]
    others = ["p_", "p_1", f"p_{ended.pid}_{start}", f"p_{ended.pid}_{start}_7.txt", f"p_x{ended.pid}_{start}_7"]
    others.append("p_1bff5fde-9196-422a-a50b-718b3b1b736c")  # as the real server names its own
    others += [f"q_{ended.pid}_{start}_7", f"P_{ended.pid}_{start}_7", f"p_{'9' * 11}_{start}_1"]
    for name in (mine, *dead, *others):
        (tmp_path / name).write_bytes(b"x")
    folder = f"p_{ended.pid}_{start}_8"
    (tmp_path / folder).mkdir()
    assert sweep("p_", str(tmp_path)) == sorted(dead)
    assert {path.name for path in tmp_path.iterdir()} == {mine, *others, folder}


def test_sweeping_where_there_is_nothing(tmp_path: Path) -> None:
    assert sweep("p_", str(tmp_path / "absent")) == []


def test_a_forked_process_names_its_own_pid() -> None:
    made(4096, "/dev/shm")
    script = (
        "import os\n"
        "from atoll.isolation.shared_files import create_shared_file\n"
        "create_shared_file(1, 'atoll_fork_')\n"
        "if not os.fork():\n"
        "    fd = create_shared_file(1, 'atoll_fork_').fd\n"
        "    start = open('/proc/self/stat').read().rpartition(')')[2].split()[19]\n"
        "    name = os.readlink(f'/proc/self/fd/{fd}')\n"
        "    print(f'atoll_fork_{os.getpid()}_{start}_' in name, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
