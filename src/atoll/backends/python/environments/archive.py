"""An environment out of an archive, conda-pack's or any other: tar (plain, gzip, bzip2, xz) or zip.

An archive is not trusted to stay where it is put: a member that leaves the folder, that is no file, folder or link, or
that goes beyond the bounds refuses the whole archive. Links are made after all else, so that nothing is ever written
through one. A link to an absolute path is let through: a virtual environment's Python is one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

MOST_MEMBERS = 1_000_000
_PIECE = 1 << 20
_LONGEST_LINK = 4096
_LONGEST_READ = 16 << 20
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class ArchiveError(ValueError):
    """The archive is damaged, hostile or too large; the text says which member and why."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    kind: str  # "file", "folder", "link" or "hard link"
    mode: int
    byte_size: int
    target: str
    open: Callable[[], IO[bytes] | None]


def extract(archive: Path, directory: Path, *, largest_bytes: int, on_progress: Callable[[int], None]) -> None:
    """Unpacks into `directory`, which is there and empty. `on_progress` gets the bytes written so far, now and then.

    Raises ArchiveError, and OSError as the disk does.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _extract(_zip_members(packed), directory, largest_bytes, on_progress)
        else:
            with _decompressed(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as unpacked:
                _extract(_tar_members(unpacked), directory, largest_bytes, on_progress)
    except tarfile.ReadError as error:
        raise ArchiveError(
            f"it is damaged, or no archive that can be read (tar, tar.gz, tar.bz2, tar.xz or zip): {error}"
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ArchiveError(f"it is damaged: {error}") from error
    except (NotImplementedError, RuntimeError, UnicodeError) as error:  # zip: an unknown method, a password
        raise ArchiveError(f"it cannot be unpacked: {error}") from error


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as opened:
        file: Any = opened.enter_context(archive.open("rb"))
        start = file.read(6)
        file.seek(0)
        for magic, decompressor in _DECOMPRESSORS.items():
            if start.startswith(magic):
                file = opened.enter_context(decompressor(file))
        yield cast(IO[bytes], _Bounded(file))


class _Bounded:
    """A stream of which nobody reads much at once: tarfile takes a header of any length that an archive announces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise ArchiveError(f"it has a header of {size} bytes")
        return self._stream.read(size)


def _extract(
    members: Iterator[_Member], directory: Path, largest_bytes: int, on_progress: Callable[[int], None]
) -> None:
    links: dict[PurePosixPath, str] = {}
    total = reported = 0
    for count, member in enumerate(members):
        if count >= MOST_MEMBERS:
            raise ArchiveError(f"it has more than {MOST_MEMBERS} members")
        path = _inside(member.name)
        total += member.byte_size
        if member.byte_size < 0 or total > largest_bytes:
            raise ArchiveError(
                f"unpacked it takes more than {largest_bytes} bytes; raise "
                "--backend-config=python,environment-byte-size"
            )
        target = directory / path
        if member.kind == "folder":
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
            continue
        if path == PurePosixPath("."):
            raise ArchiveError(f"its member '{_shown(member.name)}' has no name")
        if member.kind == "link":
            links[path] = _link_target(path, member)
            continue
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a later member of the same name wins, as with tar
        if member.kind == "hard link":
            source = directory / _inside(member.target)
            if _inside(member.target) in links:
                links[path] = os.path.relpath(_inside(member.target), path.parent)
            elif not source.is_file():
                raise ArchiveError(f"its member '{_shown(member.name)}' is a hard link to nothing before it")
            else:
                os.link(source, target)
            continue
        _write(member, target)
        if total - reported >= 256 << 20:
            reported = total
            on_progress(total)
    for path, to in links.items():
        target = directory / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            raise ArchiveError(f"its member '{_shown(str(path))}' is both a folder and a link")
        if _passes_link(directory, path):
            raise ArchiveError(f"its member '{_shown(str(path))}' lies behind a link")
        target.unlink(missing_ok=True)
        target.symlink_to(to)


def _write(member: _Member, target: Path) -> None:
    source = member.open()
    if source is None:
        raise ArchiveError(f"its member '{_shown(member.name)}' cannot be read")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with source, open(os.open(target, flags, 0o600), "wb") as file:
        left = member.byte_size
        while left > 0:
            data = source.read(min(_PIECE, left))
            if not data:
                raise ArchiveError(f"its member '{_shown(member.name)}' ends too early")
            left -= len(data)
            file.write(data)
        # Neither set-user-ID nor writable by others; the owner can always read what belongs to the environment.
        os.fchmod(file.fileno(), (member.mode & 0o755) | 0o600)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ArchiveError(f"its member '{_shown(name)}' would lie outside of the environment")
    return path


def _link_target(path: PurePosixPath, member: _Member) -> str:
    to = member.target
    if not to or "\0" in to or len(to) > _LONGEST_LINK:
        raise ArchiveError(f"its member '{_shown(member.name)}' is a link to nothing that can be")
    if not to.startswith("/") and os.path.normpath(path.parent / to).split("/")[0] == "..":
        raise ArchiveError(f"its member '{_shown(member.name)}' is a link out of the environment: {_shown(to)}")
    return to


def _passes_link(directory: Path, path: PurePosixPath) -> bool:
    here = directory
    for part in path.parts[:-1]:
        here = here / part
        if here.is_symlink():
            return True
    return False


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        archive.members = []  # type: ignore[attr-defined]  # else all headers stay in memory until the end
        if info.isdir():
            kind = "folder"
        elif info.issym():
            kind = "link"
        elif info.islnk():
            kind = "hard link"
        elif info.isreg():
            kind = "file"
        else:
            raise ArchiveError(f"its member '{_shown(info.name)}' is a device or a pipe")
        size = info.size if kind == "file" else 0

        def opened(info: tarfile.TarInfo = info) -> IO[bytes] | None:
            return archive.extractfile(info)

        yield _Member(info.name, kind, info.mode, size, info.linkname, opened)


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        target = ""
        kind = "folder" if info.is_dir() else "file"
        if stat.S_ISLNK(mode):
            if info.file_size > _LONGEST_LINK:
                raise ArchiveError(f"its member '{_shown(info.filename)}' is a link to nothing that can be")
            kind, target = "link", archive.read(info).decode()
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"its member '{_shown(info.filename)}' is a device or a pipe")
        size = info.file_size if kind == "file" else 0

        def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return archive.open(info)

        yield _Member(info.filename, kind, mode or 0o644, size, target, opened)


def _shown(name: str) -> str:
    return ascii(name)[1:-1][:200]
