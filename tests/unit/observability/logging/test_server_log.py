"""The log of a server process: severities, formats and its file, from the options and while it runs."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import InvalidArgumentError
from atoll.model_log import Speaker, hear_verbosity, is_verbose, log_as_model
from atoll.observability.logging.server_log import ServerLog, configure_logs, server_log
from atoll.observability.logging.settings import LogSettings

logger = logging.getLogger("atoll.test_server_log")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    names = ("atoll", "asyncio")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    yield
    log = server_log()
    if log is not None:
        log.close()
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)


@contextmanager
def logging_to(stream: io.StringIO, environment: dict[str, str] | None = None, **settings: Any) -> Iterator[ServerLog]:
    log = configure_logs(LogSettings(**settings), stream=stream, environment=environment or {})
    try:
        yield log
    finally:
        log.close()


def say_all() -> None:
    for level in (8, 9, 10, 20, 30, 40, 50):
        logger.log(level, "at %d", level)


def shown(stream: io.StringIO, log: ServerLog) -> list[int]:
    assert log.flush(30)
    lines = stream.getvalue().splitlines()
    stream.seek(0)
    stream.truncate()
    return [int(line.rstrip('"').rpartition(" ")[2]) for line in lines]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [20, 30, 40, 50]),
        ({"info": False}, [30, 40, 50]),
        ({"warning": False}, [20, 40, 50]),
        ({"error": False}, [20, 30]),
        ({"verbose_level": 1}, [10, 20, 30, 40, 50]),
        ({"verbose_level": 2, "info": False}, [9, 10, 30, 40, 50]),
        ({"verbose_level": 3}, [8, 9, 10, 20, 30, 40, 50]),
        ({"verbose_level": 2**31 - 1}, [8, 9, 10, 20, 30, 40, 50]),
        ({"info": False, "warning": False, "error": False}, []),
    ],
    ids=str,
)
def test_each_severity_is_switched_by_itself(settings: dict[str, Any], expected: list[int]) -> None:
    stream = io.StringIO()
    with logging_to(stream, **settings) as log:
        say_all()
        assert shown(stream, log) == expected
    stream = io.StringIO()
    with logging_to(stream) as log:
        log.change(**settings)
        say_all()
        assert shown(stream, log) == expected


def test_formats_change_while_it_runs() -> None:
    stream = io.StringIO()
    with logging_to(stream) as log:
        logger.info("one")
        assert log.change(format="ISO8601").format == "ISO8601"
        logger.info("two")
        log.change(format="json")
        logger.info("three")
        assert log.flush(30)
        lines = stream.getvalue().splitlines()
    assert lines[0][0] == "I"
    assert lines[1][:2] == "20"
    assert json.loads(lines[2])["message"] == "three"


def test_a_change_that_is_refused_changes_nothing() -> None:
    with logging_to(io.StringIO()) as log:
        for wrong in ({"format": "x", "info": False}, {"file": "elsewhere", "info": False}):
            with pytest.raises(InvalidArgumentError):
                log.change(**wrong)
        assert log.settings == LogSettings()


@pytest.mark.parametrize(("value", "escaped"), [("0", False), ("1", True), ("FALSE", True), ("", True), (None, True)])
def test_the_real_servers_variable_switches_escaping(value: str | None, escaped: bool) -> None:
    stream = io.StringIO()
    environment = {} if value is None else {"TRITON_SERVER_ESCAPE_LOG_MESSAGES": value}
    with logging_to(stream, environment) as log:
        logger.info("a\nb")
        assert log.flush(30)
    assert stream.getvalue().endswith('] "a\\nb"\n' if escaped else "] a\nb\n")


def test_the_file_is_appended_to_and_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = configure_logs(LogSettings(file=str(path)))
    logger.info("one")
    assert log.flush(30)
    path.rename(tmp_path / "log.1")
    log.reopen()
    logger.info("two")
    log.close()
    assert (tmp_path / "log.1").read_text().splitlines()[0] == "before"
    assert (tmp_path / "log.1").read_text().endswith('] "one"\n')
    assert path.read_text().endswith('] "two"\n')


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"nowhere/log' cannot be written: No such file.*--log-file must name"
    ):
        configure_logs(LogSettings(file=str(tmp_path / "nowhere" / "log")))
    assert server_log() is None


def test_there_is_one_log_and_it_can_be_followed_by_another() -> None:
    first, second = io.StringIO(), io.StringIO()
    one = configure_logs(LogSettings(), stream=first)
    assert server_log() is one
    two = configure_logs(LogSettings(), stream=second)
    logger.info("hello")
    assert server_log() is two
    two.close()
    two.close()
    assert server_log() is None
    assert first.getvalue() == ""
    assert second.getvalue().endswith('"hello"\n')


def test_what_asyncio_tells_of_stands_in_it_too() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        logging.getLogger("asyncio").error("nobody caught it")
    assert stream.getvalue().endswith('"nobody caught it"\n')


def test_models_speak_in_their_instances_name() -> None:
    stream = io.StringIO()
    with logging_to(stream, verbose_level=1):
        log_as_model(Speaker("m_0", "m", "3"), "VERBOSE", "detail", "/models/m/1/model.py", 12)
        log_as_model(Speaker("m_0", "m", "3"), "ERROR", "no\nway", "/models/m/1/model.py", 13, "mine")
    first, second = stream.getvalue().splitlines()
    assert first[0] == "I"
    assert first.endswith('model.py:12] "[m:3] [m_0] detail"')
    assert second[0] == "E"
    assert second.endswith('model.py:13] "[request id: mine] [m:3] [m_0] no\\nway"')


def test_who_runs_models_elsewhere_hears_of_verbosity() -> None:
    class Elsewhere:
        def __init__(self) -> None:
            self.heard: list[bool] = []

        def set_log_verbose(self, verbose: bool) -> None:
            self.heard.append(verbose)

    one = Elsewhere()
    with logging_to(io.StringIO()) as log:
        hear_verbosity(one)
        assert not is_verbose()
        log.change(verbose_level=2)
        assert is_verbose()
        log.change(verbose_level=0)
    assert one.heard == [True, False]
