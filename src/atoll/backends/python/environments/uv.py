"""uv, the program that finds Pythons and installs packages: where it is, and one run of it under supervision."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import MissingExtraError

EXTRA = "environments"
_KEPT_LINES = 60
_LONGEST_LINE = 2000
_HEARTBEAT_S = 15.0
_LOOK_S = 0.5
_NOT_INHERITED = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON", "UV_PROJECT", "UV_TARGET")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit status, None when it was killed because it took too long, and its last lines."""

    status: int | None
    text: str

    @property
    def disk_is_full(self) -> bool:
        """Whether it failed for lack of room."""
        return self.status != 0 and any(
            sign in self.text for sign in ("No space left on device", "os error 28)", "Disk quota exceeded")
        )


def find_uv(environment: Mapping[str, str]) -> str:
    """The program: of the installed package, else of PATH. Raises MissingExtraError."""
    try:
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    except (ImportError, FileNotFoundError):
        pass
    found = shutil.which("uv", path=environment.get("PATH"))
    if found is None:
        raise MissingExtraError(
            f"environments are made by uv, which is not installed: pip install 'atoll[{EXTRA}]', or put uv on PATH"
        )
    return found


def uv_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that uv runs with: those of the process, without what would lead it to another environment."""
    kept = {name: value for name, value in environment.items() if name not in _NOT_INHERITED}
    return kept | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    deadline: float,
    lock: int | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    on_wait: Callable[[float], None] = lambda seconds: None,
) -> Ended:
    """Runs a program in `directory` until it ends, or until `deadline` (of time.monotonic) and then kills it with all
    that it has started. `on_line` gets what it prints, `on_wait` the seconds when it has printed nothing for a while.
    `lock` is a descriptor that it inherits. Raises OSError where it cannot be started.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=directory,
        pass_fds=() if lock is None else (lock,),
        start_new_session=True,
    )
    output = _Output(on_line)
    try:
        finished = _follow(process, output, deadline, on_wait)
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()
    output.end()
    return Ended(process.returncode if finished else None, "\n".join(output.lines).strip())


def _follow(
    process: subprocess.Popen[bytes], output: _Output, deadline: float, on_wait: Callable[[float], None]
) -> bool:
    """Reads until the program has ended; False when it did not in time."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    started = heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        open_ = True
        while True:
            ended = process.poll() is not None  # before reading: what it has printed by now is there to be read
            if open_ and selector.select(0 if ended else _LOOK_S):
                data = os.read(descriptor, 65536)
                heard = time.monotonic()
                output.add(data)
                if data:
                    continue
                selector.unregister(descriptor)
                open_ = False
            if ended:
                return True
            now = time.monotonic()
            if now > deadline:
                return False
            if now - heard > _HEARTBEAT_S:
                heard = now
                on_wait(now - started)
            if not open_:
                time.sleep(0.01)


class _Output:
    """Lines out of bytes, the last ones kept. A line without an end does not grow for ever."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            self._take(line)

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace").rstrip()
        self.lines.append(text)
        if text:
            self._on_line(text)
