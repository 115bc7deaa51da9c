"""The cache on disk: shared by threads and processes, safe to crash, and cleaned of what nobody uses."""

import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cloud.stand_ins import AWS, Opener, contents
from tests.cloud.xml_store import Asked, XmlStore

from atoll.errors import UnavailableError
from atoll.repositories import object_cache
from atoll.repositories.object_cache import RepositoryCache

FILES = {"config.pbtxt": b"config", "1/model.onnx": b"first" * 1000}
PROGRAM = """
import sys
from pathlib import Path
from atoll.repositories.object_store import ObjectStoreRepository
location, cache = sys.argv[1:]
environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "x", "HOME": "/nonexistent"}
found = ObjectStoreRepository(location, cache_directory=Path(cache), environment=environment).folder("m")
print(found.directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(xml_store: XmlStore) -> XmlStore:
    xml_store.objects.update({f"r/m/{path}": data for path, data in FILES.items()})
    return xml_store


def here(store: XmlStore) -> str:
    return f"s3://{store.address}/models/r"


def states(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob("*/models/m/states/*"))


def process(store: XmlStore, cache: Path) -> "subprocess.Popen[str]":
    """Another process with the same cache: it prints the model's folder, and uses it until its input ends."""
    command = [sys.executable, "-c", PROGRAM, here(store), str(cache)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(running: "subprocess.Popen[str]") -> Path:
    assert running.stdout is not None
    return Path(running.stdout.readline().strip())


def ended(running: "subprocess.Popen[str]") -> None:
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_threads_that_ask_at_once_download_once(store: XmlStore, opened: Opener) -> None:
    repository = opened(here(store))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: repository.folder("m").directory, range(8)))
    assert len(set(found)) == 1
    assert sorted(store.gets()) == ["r/m/1/model.onnx", "r/m/config.pbtxt"]
    assert contents(found[0]) == FILES


def test_processes_that_ask_at_once_download_once(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    started = threading.Event()
    go_on = threading.Event()

    def decide(asked: Asked) -> None:
        if asked.method == "GET" and asked.key:
            started.set()
            go_on.wait(60)

    store.decide = decide
    others = [process(store, tmp_path / "cache") for _ in range(2)]
    assert started.wait(60)
    go_on.set()
    folders = {line(other) for other in others}
    assert len(folders) == 1
    assert contents(folders.pop()) == FILES
    assert sorted(store.gets()) == ["r/m/1/model.onnx", "r/m/config.pbtxt"]
    for other in others:
        ended(other)


def test_a_process_that_is_killed_in_the_middle(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    """What it had finished is kept, what it had begun is thrown away, and its lock does not outlive it."""
    reached = threading.Event()
    over = threading.Event()

    def decide(asked: Asked) -> None:
        if asked.key.endswith("model.onnx"):
            reached.set()
            over.wait(60)

    store.decide = decide
    other = process(store, tmp_path / "cache")
    assert reached.wait(60)
    while len([path for path in tmp_path.glob("cache/*/models/m/blobs/*") if path.suffix != ".part"]) < 1:
        assert other.poll() is None
        time.sleep(0.01)
    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=60)
    over.set()
    assert list(tmp_path.glob("cache/*/models/m/blobs/*.part"))
    assert not states(tmp_path / "cache")
    store.decide = lambda asked: None
    store.asked.clear()
    assert contents(opened(here(store)).folder("m").directory) == FILES
    assert store.gets() == ["r/m/1/model.onnx"]
    assert not list(tmp_path.glob("cache/*/models/m/blobs/*.part"))
    assert len(list(tmp_path.glob("cache/*/users/*"))) == 1


def test_a_model_in_use_stays_while_newer_ones_come(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    repository = opened(here(store))
    old = repository.folder("m")
    with (
        (old.directory / "1" / "model.onnx").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
    ):
        for number in range(4):
            store.objects["r/m/1/model.onnx"] = b"%d" % number
            new = repository.folder("m")
            assert contents(new.directory)["1/model.onnx"] == b"%d" % number
            assert contents(old.directory) == FILES
            if number < 3:
                repository.release(new)
        assert len(states(tmp_path / "cache")) == 2  # the one in use and the newest
        repository.release(old)
        assert not old.directory.exists()
        assert mapped[:] == FILES["1/model.onnx"]
    assert contents(new.directory)["1/model.onnx"] == b"3"


def test_a_folder_that_was_given_twice_is_released_twice(store: XmlStore, opened: Opener) -> None:
    repository = opened(here(store))
    old, again = repository.folder("m"), repository.folder("m")
    store.objects["r/m/config.pbtxt"] = b"new"
    repository.folder("m")
    repository.release(old)
    assert contents(old.directory) == FILES
    repository.release(again)
    assert not old.directory.exists()
    repository.release(again)  # once too often is no harm


def test_what_another_process_uses_is_not_removed(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    other = process(store, tmp_path / "cache")
    old = line(other)
    store.objects["r/m/config.pbtxt"] = b"new"
    repository = opened(here(store))
    repository.folder("m")
    assert contents(old) == FILES
    ended(other)
    repository.folder("m")
    assert not old.exists()


def test_unused_files_go_and_shared_ones_stay(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    first = opened(here(store))
    first.folder("m")
    first.close()
    store.objects["r/m/config.pbtxt"] = b"new"
    second = opened(here(store))
    store.asked.clear()
    new = second.folder("m")
    assert store.gets() == ["r/m/config.pbtxt"]
    assert len(states(tmp_path / "cache")) == 1
    second.close()
    found = list(tmp_path.glob("cache/*/models/m/blobs/*"))
    assert {path.read_bytes() for path in found} >= {b"new", FILES["1/model.onnx"]}
    assert (new.directory / "1" / "model.onnx").stat().st_nlink == 2


def test_blobs_of_removed_states_go_when_they_are_old(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    repository = opened(here(store))
    old = repository.folder("m")
    (gone,) = [path for path in tmp_path.glob("cache/*/models/m/blobs/*") if path.read_bytes() == b"config"]
    kept = repository._opened_cache().model("m")
    os.utime(gone, (0, 0))
    with kept.locked():
        kept.clean()
    assert gone.exists(), "it belongs to a state"
    store.objects["r/m/config.pbtxt"] = b"new"
    repository.folder("m")
    repository.release(old)
    assert not gone.exists()


def test_a_model_that_nobody_used_for_long_leaves_the_disk(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    first = opened(here(store))
    directory = first.folder("m").directory
    first.close()
    manifest = directory.parent.parent / object_cache.MANIFEST
    opened(here(store))._opened_cache()
    assert directory.exists()
    os.utime(manifest, (0, 0))
    for path in tmp_path.glob("cache/*/models/m/blobs/*"):
        os.utime(path, (0, 0))
    opened(here(store))._opened_cache()
    assert not directory.exists()
    assert not list(tmp_path.glob("cache/*/models/m/blobs/*"))


@pytest.mark.parametrize("how", ["changed", "shortened", "removed", "manifest", "link", "all"])
def test_a_damaged_model_is_downloaded_again(store: XmlStore, opened: Opener, tmp_path: Path, how: str) -> None:
    first = opened(here(store))
    file = first.folder("m").directory / "1" / "model.onnx"
    first.close()
    if how == "changed":
        file.chmod(0o600)
        file.write_bytes(b"x" * file.stat().st_size)
    elif how == "shortened":
        file.chmod(0o600)
        file.write_bytes(b"")
    elif how == "removed":
        file.unlink()
    elif how == "manifest":
        (file.parents[3] / object_cache.MANIFEST).write_text("{")
    elif how == "link":
        file.unlink()
        file.symlink_to("/etc/passwd")
    else:
        shutil.rmtree(tmp_path / "cache")
    assert contents(opened(here(store)).folder("m").directory) == FILES


def test_files_cannot_be_changed_by_accident(store: XmlStore, opened: Opener) -> None:
    directory = opened(here(store)).folder("m").directory
    assert all(path.stat().st_mode & 0o222 == 0 for path in directory.rglob("*") if path.is_file())


def test_what_backends_write_beside_a_model_does_no_harm(store: XmlStore, opened: Opener) -> None:
    repository = opened(here(store))
    directory = repository.folder("m").directory
    (directory / "1" / "__pycache__").mkdir()
    assert repository.folder("m").directory == directory


def test_a_disk_without_hard_links(store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    repository = opened(here(store))
    for _ in range(2):
        assert contents(repository.folder("m").directory) == FILES
    assert len(store.gets()) == 2


def test_a_cache_that_cannot_be_written(store: XmlStore, opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    repository = opened(here(store), cache_directory=tmp_path / "file" / "cache")
    assert repository.names() == ["m"]
    with pytest.raises(
        UnavailableError, match=r"cannot be kept: .*file.*Not a directory.*--repository-cache-directory"
    ):
        repository.folder("m")


def test_a_full_disk(store: XmlStore, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(UnavailableError, match=r"the disk of .* is full; make room"):
            opened(here(store)).folder("m")
    assert not list(tmp_path.glob("cache/*/models/m/blobs/*"))
    assert contents(opened(here(store)).folder("m").directory) == FILES


def test_users_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    first = RepositoryCache(tmp_path / "c", "s3://b")
    second = RepositoryCache(tmp_path / "c", "s3://b")
    assert first.lives(second.token)
    assert second.lives(first.token)
    first.close()
    assert not second.lives(first.token)
    assert not second.lives("never-was")
    assert [path.name for path in (tmp_path / "c" / "users").iterdir()] == [second.token]
    second.close()
    second.close()


def test_the_default_place(tmp_path: Path) -> None:
    from atoll.repositories.object_store import default_cache_directory as default

    assert default("s3://b/r", {**AWS, "HOME": "/home/x"}) == Path("/home/x/.cache/atoll/repositories")
    assert default("s3://b/r", {"XDG_CACHE_HOME": "/c"}) == Path("/c/atoll/repositories")
    assert default("s3://b/r", {"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/atoll/repositories")
    assert default("gs://b/r", {"TRITON_GCS_MOUNT_DIRECTORY": "/g", "TRITON_AWS_MOUNT_DIRECTORY": "/a"}) == Path("/g")
    assert default("s3://b/r", {"TRITON_AWS_MOUNT_DIRECTORY": "/a"}) == Path("/a")
    assert default("as://a/b/r", {"TRITON_AZURE_MOUNT_DIRECTORY": "/z"}) == Path("/z")
