"""Graphs as ONNX Runtime has optimized them, kept in a folder of the operator's, so that they are optimized once.

An entry's name says what it was made from (the model's content, ONNX Runtime's version, the options, the processor) and
what it holds: one that is damaged, or that somebody else put there, is not used but made again. Entries come into being
whole, by a rename, so any number of servers may share a folder.
"""

import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from atoll.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_BYTE_SIZE = 16 * 1024**3
_SETTLED_S = 2  # a file that was changed less long ago might change once more under the same time stamp
_ABANDONED_S = 3600
_LEAST_BYTES = 4096  # what a file takes up, however small it is
_SIBLINGS = 1024  # files beside a model that may be its external data


def optimized_models(settings: Mapping[str, str]) -> "OptimizedModels | None":
    """Where the operator wants them kept, by the backend's settings; None where he does not. Raises ConfigError."""
    directory = settings.get("optimized-model-cache-directory", "").strip()
    if not directory:
        return None
    size = settings.get("optimized-model-cache-byte-size", "").strip() or str(DEFAULT_BYTE_SIZE)
    if not (size.isascii() and size.isdigit() and len(size) <= 18):
        raise ConfigError(
            f"--backend-config=onnxruntime,optimized-model-cache-byte-size={size} is '{size}' but must be a whole "
            "number of bytes"
        )
    try:
        return OptimizedModels(Path(directory), int(size))
    except OSError as error:
        raise ConfigError(
            f"--backend-config=onnxruntime,optimized-model-cache-directory={directory} cannot be used: {error}"
        ) from error


class OptimizedModels:
    """The folder. Thread-safe, as everything that it keeps is in files. Raises OSError where it cannot be made."""

    def __init__(self, directory: Path, byte_size: int = DEFAULT_BYTE_SIZE):
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._byte_size = byte_size

    def key(self, files: Sequence[Path], facts: Sequence[str]) -> str:
        """What stands for these files' contents and facts on this processor. Raises OSError."""
        parts = [*(self._digest(file) for file in files), *facts, *_processor()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def find(self, key: str) -> Path | None:
        """The entry, if there is a sound one."""
        for entry in self._directory.glob(f"{key}-*.onnx"):
            with suppress(OSError):
                if entry.stem.partition("-")[2] == self._digest(entry)[:32]:
                    return entry
            logger.warning("the optimized model '%s' is not what was written there: it is made again", entry)
            self.drop(entry)
        return None

    def drop(self, entry: Path) -> None:
        """Remove an entry that is of no use."""
        with suppress(OSError):
            entry.unlink()

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """Where to write the model; it becomes the key's entry, unless the block raises or writes nothing.

        Raises OSError where nothing can be written there.
        """
        folder = Path(mkdtemp(prefix=".making-", dir=self._directory))
        made = folder / "model.onnx"
        try:
            yield made
            if made.is_file():
                entry = self._directory / f"{key}-{_content_digest(made)[:32]}.onnx"
                made.replace(entry)
                self._shrink(entry)
        finally:
            _remove_folder(folder)

    def _digest(self, file: Path) -> str:
        """Of the content, which is read only if the file has changed since it was read last."""
        status = file.stat()
        times = status.st_mtime_ns, status.st_ctime_ns
        identity = (os.path.realpath(file), status.st_dev, status.st_ino, status.st_size, times)
        memory = self._directory / f"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}.digest"
        with suppress(OSError, UnicodeDecodeError):
            known = memory.read_text("ascii")
            if len(known) == 64:
                return known
        digest = _content_digest(file)
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
            with suppress(OSError):
                folder = Path(mkdtemp(prefix=".making-", dir=self._directory))
                try:
                    (folder / "digest").write_text(digest, "ascii")
                    (folder / "digest").replace(memory)
                finally:
                    _remove_folder(folder)
        return digest

    def _shrink(self, kept: Path) -> None:
        """Remove what is oldest, until the rest fits."""
        files = []
        with suppress(OSError):
            for entry in os.scandir(self._directory):
                with suppress(OSError):
                    status = entry.stat()
                    if entry.name.startswith(".making-") and time.time() - status.st_mtime > _ABANDONED_S:
                        _remove_folder(Path(entry.path))  # of a process that was killed
                    elif entry.name.endswith((".onnx", ".digest")):
                        files.append((status.st_mtime_ns, max(status.st_size, _LEAST_BYTES), Path(entry.path)))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._byte_size:
                return
            if path != kept:
                self.drop(path)
                total -= size


def has_external_data(path: Path) -> bool:
    """Whether the model may keep weights in other files: one beside it, or below, is named in it.

    Such a model is not kept: its optimized graph would name the same files, beside itself. Raises OSError.
    """
    names = []
    for folder, _, files in os.walk(path.parent):
        names += [name for name in files if Path(folder, name) != path]
        if len(names) > _SIBLINGS:
            return True
    if not names:
        return False
    content = path.read_bytes()
    return any(name.encode() in content for name in names)


def _content_digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):
        for one in folder.iterdir():
            one.unlink()
        folder.rmdir()


@cache
def _processor() -> list[str]:
    """What optimizations may depend on: they choose layouts by the processor's instructions."""
    facts = [platform.machine(), platform.processor()]
    with suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "flags", "Features", "CPU part"):
                facts.append(value.strip())
            if not line.strip() and len(facts) > 2:
                break  # the others are alike
    return facts
