"""Why a child process ended, in words for the one who runs the model. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from atoll.isolation.child_control import EXITS
from atoll.isolation.limits import byte_count

_MEANINGS = {
    signal.SIGSEGV: "invalid memory access in native code",
    signal.SIGBUS: "invalid memory access in native code, or a mapped file that became shorter",
    signal.SIGABRT: "native code gave up",
    signal.SIGFPE: "invalid arithmetic in native code",
    signal.SIGILL: "the processor does not know an instruction of native code",
    signal.SIGKILL: "by someone's command, or by the kernel for lack of memory",
    signal.SIGXCPU: "it used up its processor time (ulimit -t)",
}
_NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|Cannot allocate memory|[Oo]ut of memory|memory allocation of|[Uu]nable to allocate"
)
_FRAME = re.compile(r'  File "([^"]+)", line (\d+) in (\S+)')  # as faulthandler writes it
_NOT_THE_MODELS = re.compile(r"/lib/python3|^<|/atoll/(isolation|backends/python)/")
_FATAL = "Fatal Python error"  # as faulthandler begins
_MAX_QUOTE = 200


def reason(
    code: int,
    *,
    killed_because: str = "",
    last_lines: Sequence[str] = (),
    memory_limit: int = 0,
    started: bool = True,
) -> str:
    """Why, as the rest of a sentence that begins with the instance's name.

    `code` is an exit code or the negative number of a signal; `last_lines` are what the process printed last;
    `started` says whether it got as far as its host.
    """
    unseen = code > 255
    if killed_because and (code == -signal.SIGKILL or unseen):
        return killed_because
    memory = _of_memory(last_lines, memory_limit, 3 if code < 0 else 1) if code else ""
    if code < 0:
        text = f"{memory}was killed by {_signal(-code)}"
        place = _place(last_lines)
        return f"{text} in {place}" if place else text
    if unseen:
        return "ended, and nobody could see how"
    text = f"{memory}exited with code {code}" if code else "ended by itself, with exit code 0"
    place = _place(last_lines, EXITS) if started else ""
    if place:
        return f"{text} in {place}"
    quoted = next((line.strip() for line in reversed(last_lines) if line.strip()), "") if not started else ""
    return f"{text} before it had started: {quoted[:_MAX_QUOTE]}" if quoted else text


def _signal(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    meaning = _MEANINGS.get(known)
    return f"signal {number} ({known.name}: {meaning})" if meaning else f"signal {number} ({known.name})"


def _of_memory(last_lines: Sequence[str], memory_limit: int, lines: int) -> str:
    """What to say where one of the last lines tells of a failed allocation; others may be of one that was survived."""
    crash = _crash(last_lines)
    before = [line for line in (last_lines if crash is None else last_lines[:crash]) if line.strip()]
    if not any(_NO_MEMORY.search(line) for line in before[-lines:]):
        return ""
    return f"ran out of its memory limit of {byte_count(memory_limit)} and " if memory_limit else "got no memory and "


def _crash(last_lines: Sequence[str], sign: str = _FATAL) -> int | None:
    return next((index for index, line in enumerate(last_lines) if line.startswith(sign)), None)


def _place(last_lines: Sequence[str], sign: str = _FATAL) -> str:
    """Where in the model's code the crash was, or another end with such a sign, where Python could still say so."""
    crash = _crash(last_lines, sign)
    if crash is None:
        return ""
    current = next((i for i, line in enumerate(last_lines) if i > crash and line.startswith("Current thread")), crash)
    frames: list[re.Match[str]] = []
    for line in last_lines[current + 1 :]:
        frame = _FRAME.match(line)
        if frame is None and frames:
            break  # the next thread's follow
        if frame is not None:
            frames.append(frame)
    first = frames[0] if frames and sign == _FATAL else None
    chosen = next((one for one in frames if not _NOT_THE_MODELS.search(one[1])), first)
    return f"{chosen[3]}, {chosen[1]}:{chosen[2]}" if chosen else ""
