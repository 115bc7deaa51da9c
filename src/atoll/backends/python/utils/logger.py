"""`Logger`: lines of a model's in the server's log."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TypeAlias

from atoll.backends.python.utils.arguments import mismatch
from atoll.backends.python.utils.current import current_or_offered


class LogLevel(IntEnum):
    """How much a line matters; VERBOSE ones show where the server's log is verbose."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3

    def __repr__(self) -> str:
        return f"<LogLevel.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"LogLevel.{self.name}"


Level: TypeAlias = LogLevel  # inside Logger that name is taken


class Logger:
    """Writes to the server's log, with the place in the model's code. There are no instances of it.

    Outside a model that runs, as in a test of its functions alone, the lines go to Python's `logging`.
    """

    LogLevel = LogLevel
    INFO = LogLevel.INFO
    WARNING = LogLevel.WARNING
    ERROR = LogLevel.ERROR
    VERBOSE = LogLevel.VERBOSE

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.Logger: No constructor defined!")

    @staticmethod
    def log(message: str, level: Level = LogLevel.INFO) -> None:
        """A line of that level. Raises TypeError where `level` is none of this class's."""
        if not isinstance(level, Level) or not isinstance(message, (str, bytes)):
            raise mismatch(
                "(message: str, level: c_python_backend_utils.Logger.LogLevel = <LogLevel.INFO: 0>) -> None",
                (message,) if level is LogLevel.INFO else (message, level),
                function="log",
            )
        _write(level.name, message, "log")

    @staticmethod
    def log_info(message: str) -> None:
        """A line of level INFO."""
        _write("INFO", message, "log_info")

    @staticmethod
    def log_warn(message: str) -> None:
        """A line of level WARNING."""
        _write("WARNING", message, "log_warn")

    @staticmethod
    def log_error(message: str) -> None:
        """A line of level ERROR."""
        _write("ERROR", message, "log_error")

    @staticmethod
    def log_verbose(message: str) -> None:
        """A line that shows where the server's log is verbose."""
        _write("VERBOSE", message, "log_verbose")


def _write(level: str, message: object, function: str) -> None:
    if not isinstance(message, str):
        if not isinstance(message, bytes):
            raise mismatch("(message: str) -> None", (message,), function=function)
        message = message.decode("utf-8", "replace")
    frame = sys._getframe(2)  # noqa: SLF001 - whoever called Logger; inspect would read source files for it
    found = current_or_offered()
    if found is not None:
        found.host.log(level, message, frame.f_code.co_filename, frame.f_lineno)
        return
    import logging

    number = logging.DEBUG if level == "VERBOSE" else getattr(logging, level)
    logging.getLogger("triton_python_backend_utils").log(number, "%s", message)
