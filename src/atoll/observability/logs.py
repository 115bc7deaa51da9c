"""How log lines look: severity, date, microseconds, process and place, as tritonserver's default format has them."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Protocol

_SEVERITY = {logging.DEBUG: "I", logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "E"}


class LogStream(Protocol):
    """Where log lines go."""

    def write(self, text: str, /) -> int:
        """Some of a line, or more."""

    def flush(self) -> None:
        """Let it be seen."""


class TritonFormatter(logging.Formatter):
    """`I1121 01:44:47.123456 4711 server.py:12] text`, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one or more lines."""
        moment = time.strftime("%m%d %H:%M:%S", time.gmtime(record.created))
        micros = int(record.created % 1 * 1_000_000)
        severity = _SEVERITY.get(record.levelno, "I")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{severity}{moment}.{micros:06d} {os.getpid()} {record.filename}:{record.lineno}] {text}"


class _Enabled(logging.Filter):
    """Lets through the severities that are switched on, one by one, as the options do."""

    def __init__(self, verbose: bool, info: bool, warning: bool, error: bool):
        super().__init__()
        self._on = {logging.DEBUG: verbose, logging.INFO: info, logging.WARNING: warning, logging.ERROR: error}

    def filter(self, record: logging.LogRecord) -> bool:
        return self._on.get(record.levelno, True)


def configure_logs(
    *,
    verbose: bool = False,
    info: bool = True,
    warning: bool = True,
    error: bool = True,
    stream: LogStream | None = None,
) -> None:
    """Send Atoll's log to `stream` (standard error, if None) with these severities. For a server process, not for a
    library.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(TritonFormatter())
    handler.addFilter(_Enabled(verbose, info, warning, error))
    root = logging.getLogger("atoll")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table for the log, as wide as its contents."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: tuple[str, ...]) -> str:
        return "|" + "|".join(f" {cell:<{width}} " for cell, width in zip(cells, widths, strict=True)) + "|"

    return "\n".join(["", rule, line(header), rule, *(line(row) for row in rows), rule])
