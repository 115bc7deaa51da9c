"""A model's folder, walked with care: every file of it, and nothing outside it.

What lies in a repository may come from an archive, a clone or somebody else's upload, so each entry is looked at before
anything opens it. A symbolic link counts as what it leads to; one that leads out of the repository is refused unless
the operator allowed it. Pipes, sockets and devices are never opened. Entries that vanish while the folder is listed are
passed over. Names that begin with a dot are checked the same, but are no files of the model: editors, copying programs
and Kubernetes' volumes keep their own things there.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import AtollError, ConfigError, NotFoundError, UnavailableError

MAX_ENTRIES = 200_000  # of one model: an unpacked Python environment has some tens of thousands
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a walk goes: `roots` are real paths, the repository's above all, which links may not leave unless
    `external_symlinks`.
    """

    roots: tuple[str, ...]
    external_symlinks: bool = False
    max_entries: int = MAX_ENTRIES
    max_depth: int = MAX_DEPTH


def walk(directory: Path, bounds: Bounds) -> Iterator[tuple[str, os.stat_result]]:
    """Every file of a model: its path relative to `directory`, with slashes, and the state of what it leads to.

    Raises NotFoundError where `directory` does not exist, ConfigError for what a repository must not contain,
    UnavailableError where the disk or the permissions do not let us look.
    """
    here = inspect(directory, bounds)
    if here is None or not stat.S_ISDIR(here.st_mode):
        raise NotFoundError(f"there is no model folder at '{directory}'")
    entries = 0
    # A folder's relative path with a slash at its end, and the identities of itself and the folders it is in.
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ((here.st_dev, here.st_ino),))]
    while pending:
        prefix, ancestors = pending.pop()
        for name in listed(f"{directory}/{prefix}"):
            entries += 1
            if entries > bounds.max_entries:
                raise ConfigError(
                    f"the model folder '{directory}' holds more than {bounds.max_entries} files and folders; move what "
                    "is not part of the model out of it"
                )
            path = f"{directory}/{prefix}{name}"  # a Path would cost more than the system calls
            hidden = name.startswith(".") or "/." in f"/{prefix}"
            status = inspect(path, bounds, hidden=hidden)
            if status is None:
                continue
            relative = prefix + name
            if not stat.S_ISDIR(status.st_mode):
                if not hidden:
                    yield relative, status
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                raise ConfigError(
                    f"symbolic link '{path}' leads back to a folder that it is in, which never ends; remove the link"
                )
            if len(ancestors) >= bounds.max_depth:
                raise ConfigError(
                    f"'{path}' is more than {bounds.max_depth} folders deep in the model folder '{directory}'; move it "
                    "further up or out of the model"
                )
            pending.append((relative + "/", (*ancestors, identity)))


def inspect(path: str | Path, bounds: Bounds, *, hidden: bool = False) -> os.stat_result | None:
    """The state of a file or folder, links followed; None where it is gone. Opens nothing.

    Raises ConfigError for a link out of the repository, a link to nowhere and anything that is neither file nor folder;
    UnavailableError for what we may not read. With `hidden`, a link to nowhere is as good as gone: editors lock files
    with such links.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            target = os.path.realpath(path, strict=True)
            if not bounds.external_symlinks and not any(_within(target, root) for root in bounds.roots):
                raise ConfigError(
                    f"symbolic link '{path}' leads to '{target}', outside of the repository '{bounds.roots[0]}'; copy "
                    "the file into the repository, or allow such links with --follow-external-symlinks"
                )
            status = os.stat(target)
    except (FileNotFoundError, NotADirectoryError):
        if hidden or not os.path.islink(path):
            return None
        raise ConfigError(
            f"symbolic link '{path}' leads to '{_target(path)}', where there is nothing; restore the file or remove "
            "the link"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"symbolic link '{path}' leads back to itself; remove the link") from None
        raise cannot("look at", path, error) from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ConfigError(f"'{path}' is {_kind(status.st_mode)}; a model consists of files and folders only: remove it")
    if not os.access(path, os.R_OK):
        if hidden or not os.path.lexists(path):
            return None
        raise cannot("read", path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return status


def listed(directory: str | Path, limit: int = MAX_ENTRIES) -> list[str]:
    """The names in a folder, sorted, at most `limit` + 1 of them; none where it is gone.

    Raises UnavailableError where it cannot be listed.
    """
    names: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > limit:
                    break
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot("list", directory, error) from None
    return sorted(names)


def cannot(what: str, path: str | Path, error: OSError) -> AtollError:
    """The error for a call that the operating system refused."""
    remedy = "check the disk or the network share that it lies on"
    if isinstance(error, PermissionError):
        remedy = "give the server's user the permission to read it (and to enter it, if it is a folder)"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "shorten its name or move it further up"
    return UnavailableError(f"cannot {what} '{path}': {os.strerror(error.errno or 0)}; {remedy}")


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _target(path: str | Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return "somewhere else"


def _kind(mode: int) -> str:
    for matches, words in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ):
        if matches(mode):
            return words
    return "neither a file nor a folder"
