"""How log lines look: severity, date, microseconds, process and place, as the real server has them; and as JSON.

What a client or a model has said cannot make a line of its own: the text is a JSON string, with its quotes, as in the
real server's log, and what follows it (a traceback, a table) never begins where a line begins.
"""

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from atoll.observability.logging.extras import UNKNOWN_ID

_SEVERITY: Final = {"W": "warning", "E": "error", "I": "info"}
# What a terminal or a reader of lines may take for more than text. The real server escapes those below the space only.
_TURNS: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # show a text in another order than it stands in
_UNSAFE: Final = re.compile(f'["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_TURNS}]')
_UNSAFE_IN_BLOCKS: Final = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_TURNS}]")
# To some readers; JSON's own rules leave them as they are.
_LINE_ENDS: Final = re.compile(f"[\x7f-\x9f\u2028\u2029{_TURNS}]")
_SHORT: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_INDENT: Final = "    "


class Block(str):
    """Lines that the server itself has laid out, such as a table: they stay lines. To be logged as the only argument
    of "%s".
    """

    __slots__ = ()


def escaped(text: str) -> str:
    """Without quotes and control characters, as in a JSON string."""
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return _SHORT.get(character) or f"\\u{ord(character):04X}"


def _escape_in_block(found: re.Match[str]) -> str:
    return "\t" if found.group() == "\t" else _escape(found)


class LineFormatter(logging.Formatter):
    """`I1121 01:44:47.123456 4711 server.py:12] "text"`, or `2026-11-21T01:44:47Z I 4711 server.py:12] "text"`, in UTC.

    `escape` False leaves the texts as they are, without quotes, as the real server does where
    TRITON_SERVER_ESCAPE_LOG_MESSAGES is 0.
    """

    def __init__(self, iso8601: bool = False, escape: bool = True):
        super().__init__()
        self._iso8601 = iso8601
        self._escape = escape

    def format(self, record: logging.LogRecord) -> str:
        """One record as one or more lines, without the last line's end."""
        text = _text_of(record)
        exception = _exception_of(self, record)
        if isinstance(text, Block):
            text = "\n" + _UNSAFE_IN_BLOCKS.sub(_escape_in_block, text.removeprefix("\n")) if self._escape else text
        elif self._escape:
            text = f'"{escaped(text)}"'
        for lines in (getattr(record, "detail", ""), exception):
            if lines and self._escape:
                text += "".join(
                    f"\n{_INDENT}{line}" for line in _UNSAFE_IN_BLOCKS.sub(_escape_in_block, lines).split("\n")
                )
            elif lines:
                text += f"\n{lines}"
        return f"{self._moment(record)} {os.getpid()} {record.filename}:{record.lineno}] {text}"

    def _moment(self, record: logging.LogRecord) -> str:
        moment = time.gmtime(record.created)
        if self._iso8601:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ ", moment) + _severity(record)
        micros = int(record.created % 1 * 1_000_000)
        return f"{_severity(record)}{time.strftime('%m%d %H:%M:%S', moment)}.{micros:06d}"


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, pid, file, line, message; and request_id, model, version, instance, detail and
    exception, where they are known.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line, without its end."""
        document: dict[str, Any] = {
            "time": utc_time(record.created),
            "level": "verbose" if record.levelno < logging.INFO else _SEVERITY[_severity(record)],
            "pid": os.getpid(),
            "file": record.filename,
            "line": record.lineno,
            "message": record.getMessage(),
        }
        instance = getattr(record, "instance", None)
        if instance:
            document["message"] = document["message"].removeprefix(f"[{instance}] ")
        for name in ("request_id", "model", "version", "instance", "detail"):
            value = getattr(record, name, None)
            if value:
                document[name] = str(value)
        exception = _exception_of(self, record)
        if exception:
            document["exception"] = exception
        return json_line(document)


def json_line(document: Mapping[str, Any]) -> str:
    """A JSON text on one line. What is no UTF-8 in a string, surrogates, is written as escapes."""
    try:
        text = orjson.dumps(document)
    except (orjson.JSONEncodeError, TypeError):
        text = orjson.dumps({key: _plain(value) for key, value in document.items()})
    return _LINE_ENDS.sub(_escape, text.decode())


def _plain(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def utc_time(seconds: float) -> str:
    """`2026-11-21T01:44:47.123456Z`, of seconds since 1970."""
    whole = int(seconds)
    return f"{_utc_second(whole)}.{int((seconds - whole) * 1_000_000):06d}Z"


@lru_cache(maxsize=8)
def _utc_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _severity(record: logging.LogRecord) -> str:
    if record.levelno >= logging.ERROR:
        return "E"
    return "W" if record.levelno >= logging.WARNING else "I"


def _text_of(record: logging.LogRecord) -> str:
    """What is said, with the id of the request that it is about in front, as the real server has it, and behind that
    the model and its version.
    """
    arguments = record.args
    if record.msg == "%s" and isinstance(arguments, tuple) and len(arguments) == 1 and isinstance(arguments[0], Block):
        return arguments[0]
    text = record.getMessage()
    model, version = getattr(record, "model", ""), getattr(record, "version", "")
    name = f"[{model}:{version}] " if model and version else f"[{model}] " if model else ""
    if getattr(record, "named", False):
        name = ""
    request_id = getattr(record, "request_id", None)
    if request_id is None:
        return name + text
    label = f"[request id: {request_id or UNKNOWN_ID}] "
    return label + name + text.removeprefix(label)


def _exception_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Block:
    """A table for the log, as wide as its contents; a cell is one line."""
    cells = [tuple(cell.replace("\n", "\\n") for cell in row) for row in rows]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(row: tuple[str, ...]) -> str:
        return "|" + "|".join(f" {cell:<{width}} " for cell, width in zip(row, widths, strict=True)) + "|"

    return Block("\n".join(["", rule, line(header), rule, *(line(row) for row in cells), rule]))
