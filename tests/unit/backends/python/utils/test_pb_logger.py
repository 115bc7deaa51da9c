"""Logger."""

import logging
import sys
from typing import Any

import pytest
from tests.unit.backends.python.utils.model_host import AnsweringHost

from atoll.backends.python.utils import Logger
from atoll.backends.python.utils.current import use_host


def test_a_line_says_where_it_was_written() -> None:
    host = AnsweringHost()
    with use_host(host):
        line = sys._getframe().f_lineno
        Logger.log_info("info")
        Logger.log_warn("warn")
        Logger.log_error("error")
        Logger.log_verbose(b"verbose")  # type: ignore[arg-type]
        Logger.log("plain")
        Logger.log("level", Logger.ERROR)
        Logger.log("named", level=Logger.LogLevel.VERBOSE)
    levels = ["INFO", "WARNING", "ERROR", "VERBOSE", "INFO", "ERROR", "VERBOSE"]
    texts = ["info", "warn", "error", "verbose", "plain", "level", "named"]
    assert host.said == [
        ("log", level, text, __file__, line + 1 + number)
        for number, (level, text) in enumerate(zip(levels, texts, strict=True))
    ]


def test_without_a_server_the_lines_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Logger.log_warn("100 %")
        Logger.log_verbose("more")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "100 %"),
        ("DEBUG", "more"),
    ]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("log", (5,)), ("log", ("m", 5)), ("log", ("m", "INFO")), ("log_info", (5,)), ("log_verbose", (None,))],
)
def test_other_arguments_are_type_errors(function: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=rf"^{function}\(\): incompatible function arguments"):
        getattr(Logger, function)(*arguments)


def test_there_are_no_instances_and_levels_are_the_real_ones() -> None:
    with pytest.raises(TypeError, match="No constructor defined"):
        Logger()
    assert [(repr(level), int(level)) for level in Logger.LogLevel] == [
        ("<LogLevel.INFO: 0>", 0),
        ("<LogLevel.WARNING: 1>", 1),
        ("<LogLevel.ERROR: 2>", 2),
        ("<LogLevel.VERBOSE: 3>", 3),
    ]
    assert str(Logger.INFO) == "LogLevel.INFO"
