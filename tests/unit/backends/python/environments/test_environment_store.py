"""Environments on disk, shared: built once, whole or not at all, and removed when nobody uses them."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Queue

import pytest

from atoll.backends.python.environments import store as stores
from atoll.backends.python.environments.store import KEPT_UNUSED_S, MANIFEST, EnvironmentStore, Hold
from atoll.errors import ConfigError, UnavailableError

KEY, OTHER = "a" * 40, "b" * 40
WAIT_S = 60


class Builder:
    """Fills a folder, and counts how often."""

    def __init__(self, text: str = "x") -> None:
        self.count = 0
        self.text = text

    def __call__(self, directory: Path, lock: int) -> None:
        self.count += 1
        directory.mkdir()
        (directory / "file").write_text(self.text)


def get(store: EnvironmentStore, build, key: str = KEY, **options) -> Hold:  # type: ignore[no-untyped-def]
    defaults = {"where": "the test", "timeout_s": WAIT_S, "kept_bytes": 1 << 40, "progress": lambda line: None}
    return store.get(key, build, **{**defaults, **options})


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "deep" / "cache")


def test_an_environment_is_built_once_and_then_given_out(store: EnvironmentStore) -> None:
    build = Builder()
    first, second = get(store, build), get(store, build)
    assert build.count == 1
    assert first.directory == second.directory == store.directory / KEY
    assert (first.directory / "file").read_text() == "x"
    assert store.directory.stat().st_mode & 0o777 == 0o700


def test_threads_that_come_at_once_share_one_build(store: EnvironmentStore) -> None:
    build = Builder()
    found: list[Hold] = []
    together = threading.Barrier(6)

    def load() -> None:
        together.wait()
        found.append(get(store, build))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert (len(found), build.count) == (6, 1)


SERVER = """
import os, subprocess, sys
from pathlib import Path
from atoll.backends.python.environments.store import EnvironmentStore

cache, how = Path(sys.argv[1]), sys.argv[2]

def build(directory, lock):
    directory.mkdir()
    (directory / "half").write_text("x")
    with open(cache / "builds", "a") as file:
        file.write("built\\n")
    if how == "orphan":
        subprocess.Popen(["cat", str(cache / "pipe")], pass_fds=(lock,), stdout=subprocess.DEVNULL)
    print("building", flush=True)
    if how != "quick":
        sys.stdin.readline()

def say(line):
    print(line, flush=True)

hold = EnvironmentStore(cache).get("a" * 40, build, where="other", timeout_s=60, kept_bytes=1 << 40, progress=say)
print("using", flush=True)
sys.stdin.readline()
"""


class Server:
    """Another process that gets the same environment; goes on when it is told to."""

    def __init__(self, cache: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(cache), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)


def test_two_servers_share_one_build(store: EnvironmentStore) -> None:
    store.directory.mkdir(parents=True)
    with Server(store.directory, "slow") as first:
        assert first.said() == "building"
        with Server(store.directory, "quick") as second:
            assert second.said() == "waits for another load, or another server, that makes the same environment"
            first.go_on()
            assert first.said() == second.said() == "using"
            assert (store.directory / "builds").read_text() == "built\n"
            assert get(store, Builder()).directory.joinpath("half").exists()


def test_a_build_that_was_killed_is_begun_anew(store: EnvironmentStore) -> None:
    store.directory.mkdir(parents=True)
    with Server(store.directory, "slow") as server:
        assert server.said() == "building"
        server.kill()
    assert (store.directory / KEY / "half").exists()
    build = Builder()
    hold = get(store, build)
    assert build.count == 1
    assert sorted(path.name for path in hold.directory.iterdir()) == [MANIFEST, "file"]


def test_nobody_builds_beside_what_a_killed_server_has_started(store: EnvironmentStore) -> None:
    store.directory.mkdir(parents=True)
    os.mkfifo(store.directory / "pipe")
    with Server(store.directory, "orphan") as server:
        assert server.said() == "building"
        server.kill()
    build, said = Builder(), Queue[str]()
    thread = threading.Thread(target=get, args=(store, build), kwargs={"progress": said.put})
    thread.start()
    assert "waits for another" in said.get(timeout=WAIT_S)
    assert build.count == 0
    with (store.directory / "pipe").open("wb"):  # the orphan reads to the end, and ends
        pass
    thread.join(WAIT_S)
    assert build.count == 1


def test_a_wait_has_an_end(store: EnvironmentStore) -> None:
    store.directory.mkdir(parents=True)
    with Server(store.directory, "slow") as server:
        assert server.said() == "building"
        with pytest.raises(UnavailableError, match="the test: somebody else has been making the environment"):
            get(store, Builder(), timeout_s=0.0)


def test_what_was_built_between_two_looks_is_not_built_again(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Builder(), Builder()
    locked = EnvironmentStore._locked

    def after_another(self: EnvironmentStore, key: str, kind: int) -> int | None:
        if kind == fcntl.LOCK_EX and not first.count:
            monkeypatch.undo()
            get(EnvironmentStore(store.directory), first).close()
        return locked(self, key, kind)

    monkeypatch.setattr(EnvironmentStore, "_locked", after_another)
    get(store, second)
    assert (first.count, second.count) == (1, 0)


def test_a_lock_that_was_removed_before_it_was_taken_protects_nothing(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(store, Builder()).close()
    open_lock = stores._open_lock
    removed: list[Path] = []

    def removed_meanwhile(path: Path) -> int:
        descriptor = open_lock(path)
        if not removed:
            removed.append(path)
            assert store.clean(0) == [store.directory / KEY]
            get(store, Builder()).close()
        return descriptor

    monkeypatch.setattr(stores, "_open_lock", removed_meanwhile)
    hold = get(store, Builder())
    assert (hold.directory / "file").exists()
    assert store.clean(0) == []


@pytest.mark.parametrize("error", [ConfigError("wrong"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_nothing(store: EnvironmentStore, error: BaseException) -> None:
    def build(directory: Path, lock: int) -> None:
        Builder()(directory, lock)
        raise error

    with pytest.raises(type(error)):
        get(store, build)
    assert [path.name for path in store.directory.iterdir()] == [f"{KEY}.lock"]
    again = Builder()
    get(store, again)
    assert again.count == 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, r"the disk of .* is full \(\d+ MiB are free\); make room"),
        (errno.EDQUOT, "is full"),
        (errno.ENOLCK, "has no file locks"),
        (errno.EACCES, "/there: Permission denied"),
    ],
)
def test_what_the_disk_refuses_says_what_to_do(store: EnvironmentStore, number: int, expected: str) -> None:
    def build(directory: Path, lock: int) -> None:
        directory.mkdir()
        raise OSError(number, os.strerror(number), "/there")

    with pytest.raises(UnavailableError, match=expected) as caught:
        get(store, build)
    assert str(caught.value).startswith("the test: no environment can be made: ")
    assert "--backend-config=python,environment-cache-directory=DIR" in str(caught.value)
    assert not (store.directory / KEY).exists()


def test_what_is_not_sound_any_more_is_built_again_once(store: EnvironmentStore) -> None:
    build = Builder()
    get(store, build).close()
    get(store, build, sound=lambda directory: False)
    assert build.count == 2


def test_a_cache_that_came_with_an_image_needs_no_writing(
    store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder()
    get(store, build).close()
    real = os.open

    def read_only(path, flags, *rest):  # type: ignore[no-untyped-def]
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest)

    monkeypatch.setattr(stores.os, "open", read_only)
    assert get(store, build).directory == store.directory / KEY
    assert build.count == 1


# ---- cleaning


def age(store: EnvironmentStore, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(store.directory / f"{key}.lock", (then, then))


def test_what_nobody_has_used_for_long_goes(store: EnvironmentStore) -> None:
    get(store, Builder()).close()
    get(store, Builder(), OTHER).close()
    age(store, KEY, KEPT_UNUSED_S + 60)
    assert store.clean(1 << 40) == [store.directory / KEY]
    assert sorted(path.name for path in store.directory.iterdir()) == [OTHER, f"{OTHER}.lock"]


def test_being_given_out_makes_it_young_again(store: EnvironmentStore) -> None:
    get(store, Builder()).close()
    age(store, KEY, KEPT_UNUSED_S + 60)
    get(store, Builder()).close()
    assert store.clean(1 << 40) == []


def test_what_is_in_use_stays_however_old(store: EnvironmentStore) -> None:
    hold = get(store, Builder())
    age(store, KEY, KEPT_UNUSED_S + 60)
    assert store.clean(0) == []
    hold.close()
    assert store.clean(0) == [store.directory / KEY]


def test_a_forgotten_hold_lets_go(store: EnvironmentStore) -> None:
    hold = get(store, Builder())
    assert store.clean(0) == []
    del hold
    assert store.clean(0) == [store.directory / KEY]


def test_what_another_server_uses_stays(store: EnvironmentStore) -> None:
    store.directory.mkdir(parents=True)
    with Server(store.directory, "quick") as server:
        assert server.said() == "building"
        assert server.said() == "using"
        assert store.clean(0) == []
        server.kill()
        assert store.clean(0) == [store.directory / KEY]


def test_the_oldest_goes_first_until_the_rest_fits(store: EnvironmentStore) -> None:
    keys = ["1" * 40, "2" * 40, "3" * 40]
    for number, key in enumerate(keys):
        get(store, Builder("x" * 1000), key).close()
        age(store, key, 1000 - number)
    assert store.clean(2000) == [store.directory / keys[0]]
    assert store.clean(2000) == []
    get(store, Builder("x" * 1000), keys[0], kept_bytes=2000)
    assert sorted(path.name for path in store.directory.iterdir() if not path.suffix) == [keys[0], keys[2]]


def test_leftovers_are_swept_and_what_is_not_ours_stays(store: EnvironmentStore) -> None:
    get(store, Builder()).close()
    (store.directory / OTHER / "deep").mkdir(parents=True)
    (store.directory / f"{'c' * 40}.lock").touch()
    (store.directory / ".gone-1" / "deep").mkdir(parents=True)
    (store.directory / "uv").mkdir()
    (store.directory / "notes.txt").touch()
    store.clean(1 << 40)
    assert sorted(path.name for path in store.directory.iterdir()) == [KEY, f"{KEY}.lock", "notes.txt", "uv"]


def test_cleaning_where_nothing_is(store: EnvironmentStore) -> None:
    assert store.clean(0) == []


def test_builds_and_cleaning_at_once_never_give_out_a_half_one(store: EnvironmentStore) -> None:
    wrong: list[str] = []
    end = threading.Event()

    def clean() -> None:
        while not end.is_set():
            store.clean(0)

    def use() -> None:
        for _ in range(30):
            hold = get(store, Builder())
            if not (hold.directory / "file").exists():
                wrong.append("gone while in use")
            hold.close()

    cleaner = threading.Thread(target=clean)
    users = [threading.Thread(target=use) for _ in range(3)]
    for thread in (cleaner, *users):
        thread.start()
    for thread in users:
        thread.join(WAIT_S)
    end.set()
    cleaner.join(WAIT_S)
    assert not any(thread.is_alive() for thread in users)
    assert wrong == []
