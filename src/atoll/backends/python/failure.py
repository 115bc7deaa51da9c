"""What is said of an exception that a model's code raised: the text for clients, and the whole of it for the log.

The text's form is the real server's: type and message, then the places, innermost first. Imported by child processes:
the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import resource
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

_OURS = f"{Path(__file__).parent}/"  # of no interest to the model's author: what calls the model, and pb_utils
_IMPORTING = "<frozen importlib"
_MAX_MESSAGE = 16 << 10  # an exception's text may hold a whole array
_MAX_PLACES = 50

Place = tuple[str, int, str]  # file, line, function


def places_of(error: BaseException) -> list[Place]:
    """Where it came from, outermost first, without the frames of this package and of the import system."""
    every: list[Place] = []
    step: TracebackType | None = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        every.append((code.co_filename, step.tb_lineno, code.co_name))
        step = step.tb_next
    theirs = [place for place in every if not place[0].startswith((_OURS, _IMPORTING))]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        theirs.append((error.filename, error.lineno or 0, "<module>"))
    return theirs


def failure_text(error: BaseException, otherwise: str = "") -> str:
    """Type, message and places, as the real server writes them; bounded in length. `otherwise` is the place of an
    error that no frame of the model's has raised: a call with the wrong arguments.

    A syntax error has a place too, which the real server leaves out: its message has only the file's last name.
    """
    name = type(error).__name__
    unsaid = ""
    try:
        message = str(error)
    except BaseException as other:
        message = "<MESSAGE UNAVAILABLE DUE TO ANOTHER EXCEPTION>"
        unsaid = f"\nMESSAGE UNAVAILABLE DUE TO EXCEPTION: {type(other).__name__}"
    message = (_shortened(message) or "<EMPTY MESSAGE>") + _of_memory(error)
    return f"{name}: {message}{_at(places_of(error), otherwise)}{unsaid}"


def _of_memory(error: BaseException) -> str:
    """The limit that an allocation may have met."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if not isinstance(error, MemoryError) or limit == resource.RLIM_INFINITY:
        return ""
    return f" (the model's process has a memory limit of {limit / (1 << 20):.10g} MiB)"


def _at(places: list[Place], otherwise: str) -> str:
    if not places:
        return f"\n\nAt:\n  {otherwise}\n" if otherwise else ""
    lines = [f"  {file}({line}): {function}\n" for file, line, function in reversed(places)]
    if len(lines) > _MAX_PLACES:
        half = _MAX_PLACES // 2
        lines = [*lines[:half], f"  ... {len(lines) - 2 * half} more ...\n", *lines[-half:]]
    return "\n\nAt:\n" + "".join(lines)


def place_of(thing: Any, file: Path) -> str:
    """Where a function, or a class's constructor, stands, in the form of a traceback's lines; the file otherwise."""
    function = getattr(thing, "__init__", None) if isinstance(thing, type) else thing
    function = getattr(function, "__func__", function)
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{file.absolute()}(1): <module>"
    return f"{code.co_filename}({code.co_firstlineno}): {code.co_name}"


def _shortened(text: str) -> str:
    if len(text) <= _MAX_MESSAGE:
        return text
    half = _MAX_MESSAGE // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, with causes and notes; frames of this package and of the import system are
    left out of the error's own.
    """
    try:
        text = "".join(traceback.format_exception(type(error), error, _trimmed(error.__traceback__)))
    except BaseException:
        return failure_text(error)
    return _shortened(text.rstrip("\n")) + _of_memory(error)


def _trimmed(step: TracebackType | None) -> TracebackType | None:
    """From the first frame on that is the model's."""
    first = step
    while step is not None:
        if not step.tb_frame.f_code.co_filename.startswith((_OURS, _IMPORTING)):
            return step
        step = step.tb_next
    return first
