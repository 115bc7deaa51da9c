"""What was downloaded, on disk: shared by processes, never changed in place, kept until nobody uses it.

CACHE/<digest of the location>/location
                              /users/<token>                    one a process and repository, locked while it lives
                              /models/<name>/lock               held while the model's files are changed
                                            /blobs/<digest>     a file's content: one for each object and ETag
                                            /states/<digest>/manifest.json
                                                            /used/<token>      who was given it
                                                            /files/<name>/...  hard links to blobs: what is served
"""

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from atoll.errors import UnavailableError
from atoll.repositories.object_names import Arrangement, StoredObject

MANIFEST = "manifest.json"
KEPT_UNUSED_S = 30 * 86400  # after which a state that nobody used goes, even the newest of its model
KEPT_BLOB_S = (
    86400  # for which a blob that belongs to no state is kept: a download that failed half-way goes on from it
)
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}


class RepositoryCache:
    """A location's part of the cache, for one user: a repository in one process. `close` lets go of all states."""

    def __init__(self, directory: Path, location: str) -> None:
        self.directory = directory
        with explained(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            for folder in (directory, directory / "users", directory / "models"):
                folder.mkdir(mode=0o700, exist_ok=True)
            (directory / "location").write_text(f"{location}\n")
            self.token = secrets.token_hex(8)
            # Locked under another name first: nobody finds the file without its lock. The descriptor is closed by
            # `close` or by the process's end, and not earlier: models may be in use for as long.
            fresh = directory / "users" / f".{self.token}"
            self._presence = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._presence, fcntl.LOCK_EX)
            fresh.rename(directory / "users" / self.token)
            for user in (directory / "users").iterdir():
                if not user.name.startswith("."):
                    self.lives(user.name)

    def model(self, name: str) -> "ModelCache":
        """The part of one model, whose name has passed `check_segment`."""
        return ModelCache(self, name)

    def names(self) -> list[str]:
        """The models of which something is kept."""
        return sorted(entry.name for entry in (self.directory / "models").iterdir())

    def lives(self, token: str) -> bool:
        """Whether this user is still there; forgets one that is not."""
        if token == self.token:
            return self._presence >= 0
        path = self.directory / "users" / token
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """From now on what this user was given may be removed."""
        if self._presence >= 0:
            os.close(self._presence)
            self._presence = -1
            (self.directory / "users" / self.token).unlink(missing_ok=True)


class ModelCache:
    """One model's part. Everything but `blob` needs `locked`."""

    def __init__(self, cache: RepositoryCache, name: str) -> None:
        self._cache = cache
        self._name = name
        self.directory = cache.directory / "models" / name
        self.blobs = self.directory / "blobs"
        self.states = self.directory / "states"

    @contextmanager
    def locked(self, wait: bool = True) -> Iterator[bool]:
        """Nobody else, in this process or another, changes the model's files meanwhile. False: somebody does."""
        with explained(self.directory):
            for folder in (self.blobs, self.states):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.directory / "lock").open("ab")
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True

    def blob(self, one: StoredObject) -> Path:
        """Where an object's content is, or will be."""
        return self.blobs / one.blob

    def missing(self, arrangement: Arrangement) -> list[StoredObject]:
        """What must be downloaded for these files. Throws away what an earlier download left unfinished."""
        for path in self.blobs.glob("*.part"):
            path.unlink(missing_ok=True)
        return [one for one in arrangement.files if not _is_file(self.blob(one), one.size)]

    def free_bytes(self) -> int:
        """Bytes that the disk still takes."""
        return shutil.disk_usage(self.blobs).free

    def find(self, arrangement: Arrangement) -> Path | None:
        """The model's folder where these files lie complete and as they were downloaded; a damaged one is removed."""
        state = self.states / arrangement.state
        manifest = _manifest(state)
        if manifest is None:
            _remove(state)
            return None
        folder = state / "files" / self._name
        damaged = False
        for one in arrangement.files:
            entry = manifest.get(one.path)
            if not isinstance(entry, dict):
                damaged = True
            elif entry.get("folder"):
                damaged |= not (folder / one.path).is_dir()
            elif not _is_file(folder / one.path, one.size, entry.get("mtime_ns")):
                damaged = True
                if not _is_file(self.blob(one), one.size, entry.get("mtime_ns")):
                    self.blob(one).unlink(missing_ok=True)
        damaged |= not all((folder / path).is_dir() for path in arrangement.folders)
        if damaged:
            _remove(state)
            return None
        return folder

    def build(self, arrangement: Arrangement, empty: set[str]) -> Path:
        """Puts the model's folder together from blobs, and gives it its name when it is complete.

        `empty` are paths of objects that turned out to be folders.
        """
        fresh = self.states / f".{secrets.token_hex(8)}"
        folder = fresh / "files" / self._name
        (fresh / "used").mkdir(mode=0o700, parents=True)
        folder.mkdir(parents=True)
        manifest: dict[str, Any] = {}
        try:
            for path in (*arrangement.folders, *sorted(empty)):
                (folder / path).mkdir(parents=True, exist_ok=True)
            for one in arrangement.files:
                entry: dict[str, Any] = {"etag": one.token, "size": one.size}
                if one.path in empty:
                    entry["folder"] = True
                else:
                    target = folder / one.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(self.blob(one), target)
                    entry["mtime_ns"] = target.stat().st_mtime_ns
                manifest[one.path] = entry
            (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1))
            state = self.states / arrangement.state
            fresh.rename(state)
        except BaseException:
            _remove(fresh)
            raise
        return state / "files" / self._name

    def hold(self, folder: Path) -> None:
        """This user has been given the state of `folder`: it stays until `drop`, or until the user is gone."""
        state = folder.parent.parent
        (state / "used").mkdir(mode=0o700, exist_ok=True)
        (state / "used" / self._cache.token).touch()
        os.utime(state / MANIFEST)

    def drop(self, folder: Path) -> None:
        """This user no longer uses the state of `folder`."""
        (folder.parent.parent / "used" / self._cache.token).unlink(missing_ok=True)

    def clean(self, now_s: float | None = None) -> None:
        """Removes states that nobody uses, but for the newest, and blobs that belong to none. `now_s`: Unix time."""
        now = time.time() if now_s is None else now_s
        unused: list[tuple[float, Path]] = []
        newest = 0.0
        for state in self.states.iterdir():
            if state.name.startswith("."):
                _remove(state)  # of a process that died while it built it
                continue
            used = _mtime(state / MANIFEST)
            newest = max(newest, used)
            if not self._is_used(state):
                unused.append((used, state))
        for used, state in unused:
            if used < newest or now - used > KEPT_UNUSED_S:
                _remove(state)
        for blob in self.blobs.iterdir():
            with suppress(FileNotFoundError):
                found = blob.lstat()
                if found.st_nlink == 1 and now - found.st_mtime > KEPT_BLOB_S:
                    blob.unlink()

    def _is_used(self, state: Path) -> bool:
        alive = False
        for mark in (state / "used").glob("*"):
            if self._cache.lives(mark.name):
                alive = True
            else:
                mark.unlink(missing_ok=True)
        return alive


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turns what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        place = error.filename or directory
        if error.errno in (errno.ENOLCK, errno.ENOSYS):
            text = f"the file system of {directory} has no file locks"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk of {directory} is full"
        else:
            text = f"{place}: {error.strerror or error}"
        raise UnavailableError(
            f"downloaded models cannot be kept: {text}; make room, or give another folder by "
            "--repository-cache-directory"
        ) from error


class PartFile:
    """A file under way: written in any order by several threads under another name, renamed once it is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes, offset: int) -> None:
        """Writes all of `data` at this byte offset."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def finish(self) -> None:
        """The file is whole: it gets its name, and nobody may change it."""
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)
        self._close()
        self._part.rename(self._path)

    def discard(self) -> None:
        """Removes what was not finished; does nothing after `finish`."""
        if self._descriptor >= 0:
            self._close()
            self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def _is_file(path: Path, size: int, mtime_ns: int | None = None) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return path.is_file() and not path.is_symlink() and found.st_size == size and mtime_ns in (None, found.st_mtime_ns)


def _manifest(state: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads((state / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _link(blob: Path, target: Path) -> None:
    try:
        target.hardlink_to(blob)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(blob, target)


def _remove(folder: Path) -> None:
    """Under another name first: a folder that is only half removed must not be taken for a whole one."""
    if not folder.exists():
        return
    gone = folder
    if not folder.name.startswith("."):
        gone = folder.with_name(f".{secrets.token_hex(8)}")
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
