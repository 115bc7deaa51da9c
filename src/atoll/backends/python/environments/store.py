"""Environments on disk: built once, in place, by whoever comes first; used by any number of processes; swept up later.

DIRECTORY/<key>/...               the environment; whole if it holds the manifest
          <key>/environment.json  the manifest, written last
          <key>.lock              locked while it is built (exclusively) and while it is used (shared)
          .gone-<token>           on its way out

An environment knows its own path, so that it is built where it stays. A build that is killed leaves no manifest: who
comes next begins anew. The kernel drops the locks of a process that dies; what it had started holds its copy of the
lock until that has ended too, and nobody builds beside it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atoll.errors import AtollError, UnavailableError

MANIFEST = "environment.json"
KEPT_UNUSED_S = 30 * 86400
_KEY = re.compile(r"[0-9a-f]{40}")
_PAUSE_S = 0.1  # between two looks at a lock that somebody else holds
_CHOICE = "make room, or give another folder by --backend-config=python,environment-cache-directory=DIR"

Build = Callable[[Path, int], None]


class Hold:
    """An environment in use: not removed before `close`, or before nothing refers to this any more."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    def close(self) -> None:
        """From now on it may be removed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class EnvironmentStore:
    """The environments of one folder, shared by threads and processes. Holds nothing open itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(
        self,
        key: str,
        build: Build,
        *,
        where: str,
        timeout_s: float,
        kept_bytes: int,
        progress: Callable[[str], None],
        sound: Callable[[Path], bool] = lambda directory: True,
    ) -> Hold:
        """The environment of this key, 40 hexadecimal digits, built if it is not there or not `sound` any more.

        `build(directory, lock)` fills a folder that does not exist yet; processes that it starts must inherit the
        descriptor `lock`. Somebody else's build is waited for. After a build the folder is cleaned, as `clean` does.
        Raises what `build` raises, and UnavailableError, which begins with `where`, if the disk refuses or the wait
        takes longer than `timeout_s`.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"This is a bug: '{key}' is no key of an environment")
        directory = self.directory / key
        deadline = time.monotonic() + timeout_s
        with explained(self.directory, where):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            built = said = False
            while True:
                descriptor = self._locked(key, fcntl.LOCK_SH)
                if descriptor is not None:
                    hold = Hold(directory, descriptor)
                    if _is_whole(directory) and (built or sound(directory)):
                        with suppress(OSError):
                            os.utime(descriptor)  # when it was last given out
                        if built:
                            self.clean(kept_bytes)
                        return hold
                    hold.close()
                    descriptor = self._locked(key, fcntl.LOCK_EX)
                    if descriptor is not None:
                        try:
                            if not (_is_whole(directory) and sound(directory)):
                                self._build(directory, descriptor, build)
                                built = True
                        finally:
                            os.close(descriptor)
                        continue
                # Waits for neither lock alone: who has built it goes on to hold it shared, for as long as it is in use.
                if not said:
                    progress("waits for another load, or another server, that makes the same environment")
                    said = True
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{where}: somebody else has been making the environment in {directory} for too long, or hangs "
                        f"there; end the process that holds {directory}.lock open and load the model again, or raise "
                        "--backend-config=python,environment-timeout-seconds"
                    )
                time.sleep(_PAUSE_S * (0.5 + random.random()))  # two that look at once do not do so for ever

    def clean(self, kept_bytes: int, now_s: float | None = None) -> list[Path]:
        """Removes what was left half-built, environments that nobody has used for 30 days, and then, oldest first,
        those that nobody uses until the rest takes no more than `kept_bytes`. Returns what is gone. `now_s`: Unix time.
        """
        now = time.time() if now_s is None else now_s
        gone: list[Path] = []
        found: list[tuple[float, int, str]] = []
        with suppress(OSError):
            for entry in list(self.directory.iterdir()):
                if entry.name.startswith(".gone-"):
                    shutil.rmtree(entry, ignore_errors=True)
                elif _KEY.fullmatch(entry.name.removesuffix(".lock")):
                    key = entry.name.removesuffix(".lock")
                    if entry.suffix == ".lock" and (self.directory / key).exists():
                        continue  # found by its folder
                    found.append((self._used_at(key), _byte_size(self.directory / key), key))
        total = sum(size for _, size, _ in found)
        for used, size, key in sorted(found):
            directory = self.directory / key
            whole = _is_whole(directory)
            if (not whole or now - used > KEPT_UNUSED_S or total > kept_bytes) and self._remove(key):
                total -= size
                gone.append(directory)
        return gone

    def _build(self, directory: Path, descriptor: int, build: Build) -> None:
        self._discard(directory)
        try:
            build(directory, descriptor)
            fresh = directory / f".{MANIFEST}"
            with fresh.open("w") as file:
                json.dump({"byte_size": _measured(directory), "made_at": int(time.time())}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(directory / MANIFEST)
        except BaseException:
            self._discard(directory)
            raise

    def _locked(self, key: str, kind: int) -> int | None:
        """The descriptor of the environment's lock, locked; None if somebody else's lock does not allow it."""
        path = self.directory / f"{key}.lock"
        while True:
            descriptor = _open_lock(path)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                if _is_same(descriptor, path):  # else its environment was removed meanwhile, and the lock with it
                    taken, descriptor = descriptor, -1
                    return taken
            except BlockingIOError:
                return None
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def _remove(self, key: str) -> bool:
        """Whether it was there and nobody uses it."""
        try:
            descriptor = self._locked(key, fcntl.LOCK_EX)
            if descriptor is None:
                return False
            try:
                self._discard(self.directory / key)
                (self.directory / f"{key}.lock").unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        except OSError:  # not ours to remove
            return False
        return True

    def _discard(self, directory: Path) -> None:
        """Under another name first: what is half removed must not be taken for whole."""
        if os.path.lexists(directory):
            gone = self.directory / f".gone-{secrets.token_hex(8)}"
            directory.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _used_at(self, key: str) -> float:
        try:
            return (self.directory / f"{key}.lock").stat().st_mtime
        except OSError:
            return 0.0


@contextmanager
def explained(directory: Path, where: str) -> Iterator[None]:
    """Turns what the disk refuses into an error that says what to do."""
    try:
        yield
    except AtollError:
        raise
    except OSError as error:
        place = error.filename or directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk of {directory} is full{_left(directory)}"
        elif error.errno in (errno.ENOLCK, errno.ENOSYS):
            text = f"the file system of {directory} has no file locks"
        else:
            text = f"{place}: {error.strerror or error}"
        raise UnavailableError(f"{where}: no environment can be made: {text}; {_CHOICE}") from error


def _left(directory: Path) -> str:
    try:
        return f" ({shutil.disk_usage(directory).free >> 20} MiB are free)"
    except OSError:
        return ""


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # made beforehand, in an image that is not written to


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_whole(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def _byte_size(directory: Path) -> int:
    try:
        return int(json.loads((directory / MANIFEST).read_text())["byte_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _measured(directory: Path) -> int:
    """Bytes of all files. Those that uv shares with its own cache count here as well."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
