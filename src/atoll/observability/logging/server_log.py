"""The log of a server process: what it shows, in which form, and where it goes; each can be changed while it runs.

Lines are formatted by who says them and written by a thread: a disk that is full or a pipe that nobody reads costs log
lines, never requests.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from atoll.errors import InvalidArgumentError, UnsupportedError
from atoll.model_log import tell_verbosity
from atoll.observability.logging.files import LogFile, LogStream, Output, TextStream, standard_error
from atoll.observability.logging.line_writer import LineWriter
from atoll.observability.logging.lines import JsonFormatter, LineFormatter, table
from atoll.observability.logging.settings import FORMATS, LogSettings

__all__ = ["ServerLog", "changeable_log", "configure_logs", "server_log", "table"]

ESCAPE_VARIABLE: Final = "TRITON_SERVER_ESCAPE_LOG_MESSAGES"
_WAITING_BYTES: Final = 8 << 20
_NAMES: Final = ("atoll", "asyncio")  # asyncio tells there of exceptions that nobody has caught


class ServerLog:
    """Takes what is logged under "atoll" from when it is made until `close`. Thread-safe.

    Raises InvalidArgumentError where the file cannot be written or the format is none.
    """

    def __init__(
        self,
        settings: LogSettings,
        *,
        stream: LogStream | None = None,
        environment: Mapping[str, str] = os.environ,
    ):
        self._escape = environment.get(ESCAPE_VARIABLE) != "0"  # the real server, too, knows no other word for no
        self._settings = settings
        self._lock = threading.Lock()
        formatter = self._formatter(settings.format)
        self._writer: LineWriter[str] = LineWriter("log", _output(settings, stream), _render, capacity=_WAITING_BYTES)
        self._handler = _Handler(self._writer)
        self._handler.addFilter(self._shows)
        self._handler.setFormatter(formatter)
        for name in _NAMES:
            logger = logging.getLogger(name)
            logger.handlers[:] = [self._handler]
            logger.propagate = False
        self._apply(settings)

    @property
    def settings(self) -> LogSettings:
        """As they are now."""
        return self._settings

    def change(self, **changes: Any) -> LogSettings:
        """Change some of `LogSettings`' fields, and return all of them; `file` cannot be changed. Raises
        InvalidArgumentError, and changes nothing, for a format that is none.
        """
        with self._lock:
            settings = replace(self._settings, **changes)
            formatter = self._formatter(settings.format)
            if settings.file != self._settings.file:
                raise InvalidArgumentError("the log's file cannot be changed while the server runs")
            self._handler.setFormatter(formatter)
            self._apply(settings)
        return settings

    def reopen(self) -> None:
        """Open the file anew before the next line. Also from a signal handler."""
        self._writer.reopen()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until all that was said is written; False where that takes longer."""
        return self._writer.flush(timeout_s)

    def close(self) -> None:
        """Write what there is; what is logged from now on is dropped."""
        global _current
        for name in _NAMES:
            logger = logging.getLogger(name)
            if self._handler in logger.handlers:
                logger.removeHandler(self._handler)
                logger.propagate = True
                logger.setLevel(logging.NOTSET)
        if _current is self:
            _current = None
        self._writer.close()

    def _apply(self, settings: LogSettings) -> None:
        self._settings = settings
        logging.getLogger("atoll").setLevel(settings.lowest)
        tell_verbosity(settings.verbose_level > 0)

    def _shows(self, record: logging.LogRecord) -> bool:
        return self._settings.shows(record.levelno)

    def _formatter(self, form: str) -> logging.Formatter:
        if form not in FORMATS:
            raise InvalidArgumentError(f"'{form}' is no format of the log: it is {', '.join(FORMATS[:-1])} or json")
        return JsonFormatter() if form == "json" else LineFormatter(form == "ISO8601", self._escape)


class _Handler(logging.Handler):
    def __init__(self, writer: LineWriter[str]):
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._writer.put(line, len(line))


def _render(lines: Sequence[str], lost: int) -> bytes:
    text = "\n".join(lines)
    if lost:
        text = f"{lost} lines of this log were lost: they could not be written, or not as fast as they came\n{text}"
    return (text + "\n").encode("utf-8", "backslashreplace") if text else b""


def _output(settings: LogSettings, stream: LogStream | None) -> Output:
    if not settings.file:
        return standard_error() if stream is None else TextStream(stream)
    try:
        return LogFile(settings.file)
    except OSError as error:
        raise InvalidArgumentError(
            f"the log's file '{settings.file}' cannot be written: {error.strerror}. --log-file must name a file in a "
            "directory that exists and may be written to"
        ) from error


_current: ServerLog | None = None


def configure_logs(
    settings: LogSettings, *, stream: LogStream | None = None, environment: Mapping[str, str] = os.environ
) -> ServerLog:
    """Make Atoll's log this process's, in the place of an earlier one: for a server process, not for a library.

    `stream` stands in for standard error where no file is named. Raises InvalidArgumentError.
    """
    global _current
    before = _current
    log = ServerLog(settings, stream=stream, environment=environment)
    _current = log
    if before is not None:
        before.close()
    return log


def server_log() -> ServerLog | None:
    """The log of this process; None where that is the business of the program that Atoll is a library in."""
    return _current


def changeable_log() -> ServerLog:
    """The log of this process, for clients. Raises UnsupportedError where Atoll is a library in another program."""
    log = server_log()
    if log is None:
        raise UnsupportedError(
            "the log belongs to the program in which this server runs, and is set up there (Python's logging, 'atoll')"
        )
    return log
