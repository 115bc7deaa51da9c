"""What is said of exceptions: the form of the real server's texts, and bounds on them."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.python.failure import failure_text, place_of, places_of, traceback_text

HERE = Path(__file__).name


def raised(function: Callable[[], object]) -> BaseException:
    """What the function raises, without this frame."""
    try:
        function()
    except BaseException as error:
        assert error.__traceback__ is not None
        return error.with_traceback(error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


def broken() -> None:
    raise KeyError("x")


def outer() -> None:
    broken()


class SilentError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def silent() -> None:
    raise SilentError


def empty() -> None:
    raise ValueError


def deep(depth: int = 0) -> None:
    deep(depth + 1)


def huge() -> None:
    raise ValueError("x" * 10_000_000)


def chained() -> None:
    try:
        broken()
    except KeyError as error:
        raise RuntimeError("later") from error


def test_places_come_innermost_first() -> None:
    lines = failure_text(raised(outer)).splitlines()
    assert lines[:3] == ["KeyError: 'x'", "", "At:"]
    assert [line.split("/")[-1].split("(")[0] for line in lines[3:]] == [HERE, HERE]
    assert [line.rpartition(" ")[2] for line in lines[3:]] == ["broken", "outer"]
    assert lines[3].startswith("  /")


def test_messages_that_there_are_none() -> None:
    assert failure_text(raised(empty)).startswith("ValueError: <EMPTY MESSAGE>\n\nAt:\n")
    text = failure_text(raised(silent))
    assert text.startswith("SilentError: <MESSAGE UNAVAILABLE DUE TO ANOTHER EXCEPTION>\n\nAt:\n")
    assert "MESSAGE UNAVAILABLE DUE TO EXCEPTION: ValueError" in text
    assert "SilentError" in traceback_text(raised(silent))


@pytest.mark.parametrize("function", [deep, huge])
def test_no_text_grows_without_bound(function: Callable[[], None]) -> None:
    error = raised(function)
    for text in (failure_text(error), traceback_text(error)):
        assert len(text) < 40_000
    assert failure_text(raised(deep)).count("deep") < 60


@given(st.text(max_size=50))
def test_a_short_message_is_kept_as_it_is(message: str) -> None:
    assert failure_text(ValueError(message)) == f"ValueError: {message or '<EMPTY MESSAGE>'}"


def test_the_log_has_the_causes() -> None:
    text = traceback_text(raised(chained))
    assert "KeyError: 'x'" in text
    assert "The above exception was the direct cause" in text
    assert text.endswith("RuntimeError: later")


def test_a_call_that_never_reached_the_function_has_the_function_s_place() -> None:
    error = TypeError("too few")
    line = deep.__code__.co_firstlineno
    assert (
        failure_text(error, place_of(deep, Path("m.py"))) == f"TypeError: too few\n\nAt:\n  {__file__}({line}): deep\n"
    )
    assert place_of(None, Path("m.py")) == f"{Path('m.py').absolute()}(1): <module>"
    assert place_of(5, Path("/m.py")) == "/m.py(1): <module>"


def test_a_syntax_error_has_the_place_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("x = = 1\n")
    error = raised(lambda: compile(file.read_text(), str(file), "exec"))
    assert places_of(error)[-1] == (str(file), 1, "<module>")
    assert failure_text(error).startswith("SyntaxError: invalid syntax (model.py, line 1)\n\nAt:\n" + f"  {file}(1)")


@pytest.mark.parametrize("message", ["", "Unable to allocate 10.0 GiB"])
def test_the_memory_limit_is_told_where_there_is_one(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise MemoryError(message)

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 30, 1 << 30))
    note = " (the model's process has a memory limit of 1024 MiB)"
    assert failure_text(raised(full)).startswith(f"MemoryError: {message or '<EMPTY MESSAGE>'}{note}\n\nAt:\n")
    assert traceback_text(raised(full)).endswith(note)
    assert "memory limit" not in failure_text(raised(empty))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "memory limit" not in failure_text(raised(full)) + traceback_text(raised(full))
