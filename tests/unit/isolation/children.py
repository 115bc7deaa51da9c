"""Children for tests: started, watched, and gone at the end of the test."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.devices.proc_stat import read_stat
from atoll.isolation.process import Child, ChildSpec, launch
from atoll.isolation.supervisor import Supervisor
from atoll.isolation.zygote import Zygote

HERE = Path(__file__).parent
PATIENCE_S = 60.0  # before a test gives up; nothing takes nearly as long


def spec(code: str, *, name: str = "echo_0_0", setup: dict[str, Any] | None = None, **rest: Any) -> ChildSpec:
    """A child that runs this code, and then waits until `data` is closed."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OPENBLAS_NUM_THREADS": "1"}
    rest = {"environment": environment, "host": "child_hosts:serve", "model": "echo", **rest}
    return ChildSpec(name=name, setup={"code": code, **(setup or {})}, **rest)


def eventually(true: Callable[[], Any], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it reaped or not."""
    stat = read_stat(pid)
    return stat is None or stat.state in "ZX"


@dataclass
class Started:
    """A child under watch, and what its end was told with."""

    child: Child
    reasons: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def on_end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended.set()

    def said(self, size: int = 1 << 16) -> str:
        """The next that the child's code has sent; empty where it ended instead."""
        self.child.data.settimeout(PATIENCE_S)
        return self.child.data.recv(size).decode()

    def reason(self) -> str:
        """Why it ended, once it has."""
        assert self.ended.wait(PATIENCE_S), "the child did not end"
        assert len(self.reasons) == 1
        return self.reasons[0]

    def close(self) -> None:
        """Our ends: a child that waits for us ends by this."""
        self.child.data.close()
        self.child.regions.close()


class Nursery(logging.Handler):
    """Starts children, and keeps what is logged about them."""

    def __init__(self) -> None:
        super().__init__()
        self.supervisor = Supervisor()
        self.lines: list[str] = []
        self._started: list[Started] = []
        self._zygotes: list[Zygote] = []
        self._logger = logging.getLogger("atoll.isolation")
        self._level = self._logger.level
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def start(
        self, code: str = "", *, stub_timeout_s: float = PATIENCE_S, zygote: Zygote | None = None, **rest: Any
    ) -> Started:
        started = Started(launch(spec(code, **rest), zygote))
        self._started.append(started)
        self.supervisor.watch(started.child, on_end=started.on_end, stub_timeout_s=stub_timeout_s)
        return started

    def zygote(self, prepare: str = "", **rest: Any) -> Zygote:
        timeout_s = rest.pop("fork_timeout_s", PATIENCE_S)
        zygote = Zygote(spec("", setup={"prepare": prepare}, **rest), self.supervisor, fork_timeout_s=timeout_s)
        self._zygotes.append(zygote)
        return zygote

    def printed(self) -> list[str]:
        """The lines that children have printed, without their names."""
        return [line.split("] ", 1)[1] for line in self.lines if line.startswith("[echo_")]

    def close(self) -> None:
        for zygote in self._zygotes:
            zygote.close()
        self.supervisor.close()
        for started in self._started:
            started.close()
            assert started.ended.is_set()
            assert is_gone(started.child.pid)
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


_SERVER = f"""
import os, signal, sys, time
sys.path.insert(0, {str(HERE.parents[2])!r})
from tests.unit.isolation.children import Nursery
nursery = Nursery()
"""


class ServerProcess:
    """A process of its own that starts children, to be killed. Its code has a `nursery`."""

    def __init__(self, code: str, descriptors: Sequence[int] = ()):
        argv = [sys.executable, "-c", _SERVER + code]
        self._popen = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, pass_fds=descriptors)
        self.pid = self._popen.pid

    def line(self) -> str:
        """The next line that it prints."""
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().strip()

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for its end; what it ended with."""
        self._popen.send_signal(number)
        return self._popen.wait(PATIENCE_S)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._popen.kill()
        self._popen.wait()
        assert self._popen.stdout is not None
        self._popen.stdout.close()
