"""Folders that came from anywhere: what must not be in one is named, nothing of it is opened, and the rest goes on."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.errors import AtollError, ConfigError, NotFoundError, UnavailableError
from atoll.repositories import tree
from atoll.repositories.local import LocalRepository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a good model `good` and an empty version 1 of the model `m`; secrets lie beside it."""
    for path in ("repository/good/1/model.onnx", "outside/1/secret"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("x")
    (tmp_path / "repository/m/1").mkdir(parents=True)
    return tmp_path / "repository"


def refused(root: Path, text: str, error: type[AtollError] = ConfigError) -> str:
    """Both calls say so of `m`; it stays in the list, and the good model is untouched."""
    repository = LocalRepository(root)
    assert repository.names() == ["good", "m"]
    said = set()
    for call in (repository.files, repository.folder):
        with pytest.raises(error, match=text) as caught:
            call("m")
        said.add(str(caught.value))
    assert len(said) == 1
    assert repository.files("good").keys() == {"1/model.onnx"}
    assert list(repository.folder("good").versions) == [1]
    return said.pop()


@pytest.mark.parametrize("link", ["m/labels.txt", "m/1/model.onnx", "m/1/deep/er/model.onnx", "m/.hidden", "m/.a/x"])
@pytest.mark.parametrize("target", ["../outside/1/secret", "/etc/passwd", "../repository-2/x"])
def test_a_link_to_a_file_outside(root: Path, link: str, target: str) -> None:
    (root.parent / "repository-2").mkdir()  # begins with the repository's own name
    (root.parent / "repository-2" / "x").touch()
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(root / target)
    text = refused(root, "outside of the repository")
    for part in (str(root / link), os.path.realpath(root / target), str(root), "--follow-external-symlinks"):
        assert part in text
    LocalRepository(root, external_symlinks=True).folder("m")


@pytest.mark.parametrize("link", ["m", "m/2", "m/assets"])
def test_a_link_to_a_folder_outside(root: Path, link: str) -> None:
    if link == "m":
        shutil.rmtree(root / "m")
    (root / link).symlink_to(root.parent / "outside")
    refused(root, "outside of the repository")
    allowed = LocalRepository(root, external_symlinks=True)
    assert [path for path in allowed.files("m") if path.endswith("secret")]
    assert allowed.folder("m").versions


def test_a_link_out_by_way_of_a_link_inside(root: Path) -> None:
    (root / "m/here").symlink_to("there")
    (root / "m/there").symlink_to(root.parent / "outside")
    refused(root, "outside of the repository")


def test_links_inside_as_kubernetes_mounts_volumes(root: Path) -> None:
    data = root / "m" / "..2026_11_21_10_00"
    data.mkdir()
    (data / "config.pbtxt").write_text("one")
    (root / "m/..data").symlink_to(data.name)
    (root / "m/config.pbtxt").symlink_to("..data/config.pbtxt")
    (root / "m/2").symlink_to("../good/1")
    repository = LocalRepository(root)
    before = repository.files("m")
    assert before.keys() == {"config.pbtxt", "2/model.onnx"}
    assert list(repository.folder("m").versions) == [1, 2]
    following = root / "m" / "..2026_11_21_11_00"
    following.mkdir()
    (following / "config.pbtxt").write_text("two")
    (root / "m/..next").symlink_to(following.name)
    os.replace(root / "m/..next", root / "m/..data")
    after = repository.files("m")
    assert {path for path in after if after[path] != before[path]} == {"config.pbtxt"}


def test_a_repository_that_is_given_by_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to("repository")
    (root / "m/2").symlink_to(root / "good/1")
    repository = LocalRepository(root.parent / "link")
    assert repository.folder("m").directory == root.parent / "link" / "m"
    assert list(repository.folder("m").versions) == [1, 2]


def test_links_that_never_end(root: Path) -> None:
    (root / "m/a").symlink_to("b")
    (root / "m/b").symlink_to("a")
    refused(root, r"symbolic link '.*/m/a' leads back to itself")
    (root / "m/a").unlink()
    (root / "m/b").unlink()
    for target in (".", "..", "../1", "../.."):
        link = root / "m/1/up"
        link.symlink_to(target)
        refused(root, "leads back to a folder that it is in")
        link.unlink()


def test_a_model_that_is_a_link_to_itself_or_to_nothing(root: Path) -> None:
    shutil.rmtree(root / "m")
    (root / "m").symlink_to("m")
    refused(root, "leads back to itself")
    (root / "m").unlink()
    (root / "m").symlink_to("absent")
    refused(root, "leads to 'absent', where there is nothing; restore the file or remove the link")


def test_a_link_to_nothing(root: Path) -> None:
    (root / "m/1/model.onnx").symlink_to("../../.annex/objects/1234")
    refused(root, r"'.*/m/1/model.onnx' leads to '../../.annex/objects/1234', where there is nothing")


def test_an_editors_lock_is_no_fault(root: Path) -> None:
    (root / "m/.#config.pbtxt").symlink_to("ada@desk.4711:1700000000")
    assert LocalRepository(root).files("m") == {}


@pytest.mark.parametrize("place", ["m/1/model.onnx", "m/config.pbtxt", "m/.hidden"])
def test_pipes_and_sockets_are_never_opened(root: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / place)  # opening it would wait for ever
    refused(root, f"'{root / place}' is a named pipe; a model consists of files and folders only")
    (root / place).unlink()
    monkeypatch.chdir((root / place).parent)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind((root / place).name)
        refused(root, "is a socket")


def test_a_link_to_a_device(root: Path) -> None:
    (root / "m/1/model.onnx").symlink_to("/dev/zero")
    refused(root, "outside of the repository")
    with pytest.raises(ConfigError, match="is a character device"):
        LocalRepository(root, external_symlinks=True).folder("m")


def test_too_many_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tree.MAX_ENTRIES >= 100_000
    for number in range(10):
        (root / f"m/1/{number}").touch()
    walked = tree.walk(root / "m", tree.Bounds((str(root),), max_entries=11))
    assert len(list(walked)) == 10
    with pytest.raises(ConfigError, match="holds more than 10 files and folders; move what is not part of the model"):
        list(tree.walk(root / "m", tree.Bounds((str(root),), max_entries=10)))


def test_links_that_multiply(root: Path) -> None:
    for level in range(30):  # 2**30 paths, without any cycle
        folder = root / "m" / f"level{level}"
        folder.mkdir()
        for name in ("left", "right"):
            (folder / name).symlink_to(f"../level{level + 1}")
    (root / "m/level30").mkdir()
    with pytest.raises(ConfigError, match="holds more than 1000 files and folders"):
        list(tree.walk(root / "m", tree.Bounds((str(root),), max_entries=1000)))


def test_too_deep(root: Path) -> None:
    inside = root / "m/1" / "/".join(["d"] * (tree.MAX_DEPTH - 2))
    inside.mkdir(parents=True)
    (inside / "model.onnx").touch()
    assert len(LocalRepository(root).files("m")) == 1
    (inside / "d" / "d").mkdir(parents=True)
    refused(root, f"is more than {tree.MAX_DEPTH} folders deep in the model folder")


def test_files_that_vanish_while_they_are_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "m/1/model.onnx").touch()
    (root / "m/2").mkdir()
    listed = tree.listed
    monkeypatch.setattr(tree, "listed", lambda folder, *rest: [*listed(folder, *rest), "gone"])
    assert LocalRepository(root).files("m").keys() == {"1/model.onnx"}
    monkeypatch.setattr(tree, "listed", lambda folder, *rest: shutil.rmtree(root / "m", ignore_errors=True) or [])
    assert LocalRepository(root).files("m") == {}
    with pytest.raises(NotFoundError):
        LocalRepository(root).files("m")


@pytest.mark.parametrize("call", ["stat", "scandir"])
def test_a_disk_that_fails(root: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {"stat": os.lstat, "scandir": os.scandir}[call]

    def fail(path: Path) -> object:
        if str(path).startswith(f"{root}/m/1"):
            raise OSError(5, "Input/output error")
        return real(path)

    (root / "m/1/model.onnx").touch()
    monkeypatch.setattr(tree.os, "lstat" if call == "stat" else "scandir", fail)
    refused(root, r"cannot (look at|list) '.*/m/1.*': Input/output error; check the disk", UnavailableError)


ASK = """
import os, sys
from atoll.errors import AtollError
from atoll.repositories.local import LocalRepository
if os.geteuid() == 0:  # who may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
repository = LocalRepository(sys.argv[1])
for call in (repository.names, lambda: repository.files("m"), lambda: repository.folder("good")):
    try:
        print("ok", call())
    except AtollError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def open_root(root: Path) -> Iterator[Path]:
    """The repository where any user may enter it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(root, os.path.join(folder, "repository"))
        yield Path(folder, "repository")


def as_nobody(root: Path) -> list[str]:
    """What `ASK` prints when it is run by a user without any rights of its own."""
    command = [sys.executable, "-c", ASK, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("place", ["m/1/model.onnx", "m/1", "m"])
def test_what_the_servers_user_may_not_read(open_root: Path, place: str) -> None:
    (open_root / "m/1/model.onnx").touch()
    os.chmod(open_root / place, 0)
    names, files, good = as_nobody(open_root)
    os.chmod(open_root / place, 0o755)
    assert names == "ok ['good', 'm']"
    assert files == (
        f"UnavailableError cannot read '{open_root / place}': Permission denied; give the server's user the permission "
        "to read it (and to enter it, if it is a folder)"
    )
    assert good.startswith("ok ModelFolder(name='good'")


def test_a_repository_that_the_servers_user_may_not_read_or_enter(open_root: Path) -> None:
    os.chmod(open_root, 0)
    told = as_nobody(open_root)
    assert told[0].startswith(f"UnavailableError cannot list '{open_root}': Permission denied; give the server's user")
    os.chmod(open_root, 0o444)
    told = as_nobody(open_root)
    assert told[0] == "ok ['good', 'm']"
    assert told[1].startswith(f"UnavailableError cannot look at '{open_root}/m': Permission denied; give the server's")
    os.chmod(open_root, 0o755)


def test_a_file_that_vanishes_between_two_looks_is_not_forbidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "m/1/model.onnx").touch()
    (root / "m/1/other").touch()

    def access(path: Path, mode: int) -> bool:
        Path(root / "m/1/model.onnx").unlink(missing_ok=True)
        return Path(path).exists()

    monkeypatch.setattr(tree.os, "access", access)
    assert LocalRepository(root).files("m").keys() == {"1/other"}
