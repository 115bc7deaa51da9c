"""The server's log: where the options let it go, and lines of the program's own in it."""

import logging
import sys

from atoll.errors import InvalidArgumentError
from atoll.observability.logging.server_log import ServerLog, configure_logs, server_log
from atoll.observability.logging.settings import LogSettings
from atoll.tritonserver.enums import LogFormat, LogLevel
from atoll.tritonserver.options import Options

logger = logging.getLogger(__name__)

_FORMATS = {LogFormat.DEFAULT: "default", LogFormat.ISO8601: "ISO8601"}
_LEVELS = {
    LogLevel.VERBOSE: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def open_log(options: Options) -> ServerLog | None:
    """The log that the options ask for; None where they ask for none, and it is left to the program's own `logging`.

    It is the process's, as the real server's is: the last server that opens one has it.
    """
    if not (options.log_info or options.log_warn or options.log_error or options.log_verbose):
        ours = logging.getLogger("atoll")
        if not ours.handlers:
            ours.addHandler(logging.NullHandler())  # else Python would print warnings
        return None
    return configure_logs(
        LogSettings(
            file=options.log_file or "",
            info=options.log_info,
            warning=options.log_warn,
            error=options.log_error,
            verbose_level=options.log_verbose,
            format=_FORMATS[options.log_format],
        )
    )


def close_log(log: ServerLog | None) -> None:
    """The server that opened it has stopped; another's goes on."""
    if log is not None and server_log() is log:
        log.close()


class LogMessage:
    """Writes a line when it is made, at the place of its caller, unless its level is off."""

    def __init__(self, level: LogLevel, message: str, filename: str | None = None, line: int | None = None):
        if not isinstance(level, LogLevel):
            raise InvalidArgumentError(f"level is {level!r}, and must be a LogLevel")
        number = _LEVELS[level]
        if not logger.isEnabledFor(number):
            return
        caller = sys._getframe(1)  # noqa: SLF001 - as the logging module does
        file = caller.f_code.co_filename if filename is None else filename
        place = caller.f_lineno if line is None else line
        logger.handle(logger.makeRecord(logger.name, number, file, place, "%s", (message,), None))
