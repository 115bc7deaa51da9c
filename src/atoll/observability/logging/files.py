"""Where lines end up: a file that log rotation may move away, or one of the process's standard streams."""

import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

_LOOK_S: Final = 1.0  # between two looks at whether the file is still the one of that name


class Output(Protocol):
    """One thread at a time writes; `reopen` may be called from any thread and from a signal handler."""

    def write(self, data: bytes) -> None:
        """All of it. Raises OSError."""

    def reopen(self) -> None:
        """Before anything else is written, look anew for where that goes."""

    def close(self) -> None:
        """Nothing is written any more."""


class LogFile:
    """A file that is appended to. Opened anew, by its name, after `reopen` and when another file, or none, has that
    name now; where that fails, lines go on to the old one, and it is tried again.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: str, now: Callable[[], float] = monotonic):
        self._path = path
        self._now = now
        self._descriptor = _open(path)
        self._reopen = False
        self._look_at = now() + _LOOK_S

    def write(self, data: bytes) -> None:
        """See `Output.write`."""
        if self._reopen or self._now() >= self._look_at:
            self._reopen, anew = False, self._reopen
            self._look_at = self._now() + _LOOK_S
            if anew or not self._is_current():
                self._open_anew()
        _write_all(self._descriptor, data)

    def reopen(self) -> None:
        """See `Output.reopen`."""
        self._reopen = True

    def close(self) -> None:
        """See `Output.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_current(self) -> bool:
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        ours = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _open_anew(self) -> None:
        try:
            descriptor = _open(self._path)
        except OSError:
            return  # the directory is gone, or full: the next look tries again
        os.close(self._descriptor)
        self._descriptor = descriptor


class StandardStream:
    """Standard output or standard error, past Python's buffers. It stays open."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """See `Output.write`."""
        _write_all(self._descriptor, data)

    def reopen(self) -> None:
        """See `Output.reopen`."""

    def close(self) -> None:
        """See `Output.close`."""


def standard_error() -> Output:
    """What `sys.stderr` stands for now: its file, or, where that is none, as in a notebook, the object."""
    try:
        return StandardStream(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return TextStream(sys.stderr)


class LogStream(Protocol):
    """Where text can be written."""

    def write(self, text: str, /) -> object:
        """Some of a line, or more."""

    def flush(self) -> None:
        """Let it be seen."""


class TextStream:
    """A stream of Python's, such as the one that draws above a line of progress."""

    def __init__(self, stream: LogStream):
        self._stream = stream

    def write(self, data: bytes) -> None:
        """See `Output.write`."""
        try:
            self._stream.write(data.decode("utf-8", "replace"))
            self._stream.flush()
        except ValueError as error:  # it is closed
            raise OSError(str(error)) from error

    def reopen(self) -> None:
        """See `Output.reopen`."""

    def close(self) -> None:
        """See `Output.close`."""


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o644)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
