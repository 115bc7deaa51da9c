"""Data files that a configuration names, read from inside the model's folder and no other."""

import os
import stat
from pathlib import Path, PurePath

from atoll.errors import ConfigError


def read_model_file(directory: Path, name: str, limit: int, count: int = -1) -> bytes:
    """The file `name` of this folder of a model (it may lie in a folder below): `count` bytes, or all of it.

    Where symbolic links may lead is the repository's affair, which looks at every file of a model. Raises ConfigError,
    in the real server's words where it has any, for a name that leads out of `directory`, and where there is no regular
    file of that name with at most `limit` bytes.
    """
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
        raise ConfigError(
            f"file name {name!r} does not name a file inside {directory}; give its path below that folder"
        )
    path = directory / name
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"failed to open text file for read {path}: it is not a regular file")
            if status.st_size > limit:
                raise ConfigError(f"{path} has {status.st_size} bytes, which is too large: at most {limit} are read")
            return file.read(limit if count < 0 else min(count, limit))
    except OSError as error:
        raise ConfigError(f"failed to open text file for read {path}: {error.strerror}") from error


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # not to wait where it is a pipe
