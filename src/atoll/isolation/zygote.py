"""A zygote as the server sees it: started when a fork is first needed, and anew when it has died."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atoll.devices.proc_stat import read_stat
from atoll.errors import InternalError
from atoll.isolation.process import UNKNOWN_END, Child, ChildSpec, launch
from atoll.isolation.zygote_child import FORK

if TYPE_CHECKING:
    from atoll.isolation.child import Descriptors
    from atoll.isolation.supervisor import Supervisor

logger = logging.getLogger(__name__)

_READ_BYTES = 64 << 10
_MAX_LINE_BYTES = 1 << 20
_END_S = 5.0


class Zygote:
    """Forks the instances of one model. Usable from any thread but the supervisor's.

    `spec` is an instance's: its interpreter, environment, limit and host. The module of the host needs a function
    `prepare(setup)`, which loads what the forks are to share. A fork lives on when the zygote dies; the next one comes
    from a new zygote.
    """

    def __init__(
        self, spec: ChildSpec, supervisor: Supervisor, *, load_timeout_s: float = 0.0, fork_timeout_s: float = 30.0
    ):
        self._spec = replace(
            spec,
            name=f"{spec.model} (zygote)",
            host="atoll.isolation.zygote_child:serve",
            setup={"host": spec.host, "setup": dict(spec.setup)},
            single_threaded=True,
        )
        self._supervisor = supervisor
        self._load_timeout_s = load_timeout_s
        self._fork_timeout_s = fork_timeout_s
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    def fork(self, spec: ChildSpec, handed: Descriptors, output: int) -> Forked:
        """A new process, which has its own copies of these descriptors. Waits for the module to be loaded; without
        a limit, however long it takes. Raises InternalError where it cannot be, or where the zygote does not fork.
        """
        with self._lock:
            if self._closed:
                raise InternalError(f"the zygote of model '{spec.model}' is closed")
            running = self._running
            if running is None or running.has_ended:
                self._running = running = _Running(launch(self._spec), self._supervisor)
        return running.fork([*handed, output], self._load_timeout_s, self._fork_timeout_s)

    @property
    def pid(self) -> int | None:
        """The zygote's process, where one runs."""
        running = self._running
        return running.child.pid if running is not None and not running.has_ended else None

    def close(self) -> None:
        """End the zygote, also while it is loading. Its forks live on."""
        with self._lock:
            self._closed = True
            running = self._running
        if running is not None:
            running.close()
            self._supervisor.stop(running.child, _END_S)


class _Running:
    """One zygote process, from its start to its end."""

    def __init__(self, child: Child, supervisor: Supervisor):
        self.child = child
        self._turn = threading.Lock()  # one request at a time: replies do not say whose they are
        self._changed = threading.Condition()
        self._partial = b""
        self._closing = False
        self._all_read = False  # nobody will tell of a fork's end any more
        self._why_ended = ""
        self._is_ready = False
        self._failed = ""
        self._reply: dict[str, Any] | None = None
        self._forks: dict[int, Forked] = {}
        child.data.setblocking(False)
        supervisor.watch(child, on_end=self._ended, stub_timeout_s=0)
        supervisor.read(child.data.fileno(), self._read)

    @property
    def has_ended(self) -> bool:
        """Whether no fork can be had of it."""
        return self._all_read or bool(self._why_ended)

    def fork(self, handed: list[int], load_timeout_s: float, timeout_s: float) -> Forked:
        model = self.child.spec.model
        with self._turn, self._changed:
            if not self._changed.wait_for(self._is_decided, load_timeout_s or None):
                self.child.kill(f"was killed by the server because it was not ready within {load_timeout_s:g} s")
                self._changed.wait_for(self._is_decided)
            if self._failed:
                raise InternalError(f"the module of model '{model}' cannot be loaded: {self._failed}")
            self._reply = None
            if not self.has_ended:
                with suppress(OSError):
                    socket.send_fds(self.child.regions, [FORK], handed)
                replied = self._changed.wait_for(
                    lambda: self._reply is not None or (self._all_read and self._why_ended), timeout_s
                )
                if not replied:
                    self.child.kill(f"did not fork within {timeout_s:g} s and was killed")
                    raise InternalError(f"the zygote of model '{model}' did not fork within {timeout_s:g} s: killed")
            reply: dict[str, Any] = self._reply or {}
            if "refused" in reply:
                raise InternalError(f"the zygote of model '{model}' cannot fork: {reply['refused']}")
            if "forked" not in reply:
                raise InternalError(f"the zygote of model '{model}' {self._why_ended or 'ended'}")
            return self._forks[reply["forked"]]

    def _is_decided(self) -> bool:
        """Whether it will fork, or never will."""
        return bool(self._is_ready or self._failed or (self._all_read and self._why_ended))

    def close(self) -> None:
        self._closing = True
        if not self._is_ready:  # it may load for hours
            self.child.kill("was killed because it was not needed any more")
        with suppress(OSError):  # it is gone already
            self.child.regions.shutdown(socket.SHUT_RDWR)

    # ---- on the supervisor's thread

    def _ended(self, why: str) -> None:
        if not self._closing:
            logger.warning("the zygote of model '%s' %s; its instances live on", self.child.spec.model, why)
        with self._changed:
            self._why_ended = why
            self._changed.notify_all()

    def _read(self) -> bool:
        try:
            data = self.child.data.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        *lines, self._partial = (self._partial + data).split(b"\n")
        with self._changed:
            for line in lines:
                # A bootstrap that fails speaks another language; its end is told of. So is that of one gone mad.
                with suppress(ValueError, KeyError, TypeError):
                    self._take(json.loads(line))
            if len(self._partial) > _MAX_LINE_BYTES:
                self.child.kill("sent what is no message and was killed")
            if not data:
                self._all_read = True
                for fork in self._forks.values():
                    fork.orphaned = True
                self._forks.clear()
                self.child.data.close()
                self.child.regions.close()
            self._changed.notify_all()
        return bool(data)

    def _take(self, facts: dict[str, Any]) -> None:
        if "ready" in facts:
            self._is_ready = True
            if facts["ready"] > 0:
                logger.warning(
                    "the module of model '%s' has started %d threads, which its forked instances do not have: where "
                    'the model needs them, start them in initialize, or use the start_method "spawn"',
                    self.child.spec.model,
                    facts["ready"],
                )
        elif "failed" in facts:
            self._failed = facts["failed"]
        elif "ended" in facts:
            fork = self._forks.pop(facts["ended"], None)
            if fork is not None:
                fork.code = facts["code"]
        else:
            if "forked" in facts:
                self._forks[facts["forked"]] = Forked(facts["forked"], facts["start"])
            self._reply = facts


class Forked:
    """A process that is the zygote's child, and anybody's when the zygote is dead."""

    descriptor: int | None = None

    def __init__(self, pid: int, start: int):
        self.pid = pid
        self._start = start
        self.code: int | None = None
        self.orphaned = False

    def reap(self) -> int | None:
        """None while it runs; else its exit code, where anybody knows it."""
        if self.code is None and self.orphaned and not self._lives():
            self.code = self._find_out()
        return self.code

    def _lives(self) -> bool:
        stat = read_stat(self.pid)
        return stat is not None and stat.start == self._start and stat.state not in "ZX"

    def _find_out(self) -> int:
        stat = read_stat(self.pid)
        if stat is None or stat.start == self._start:  # the number is not another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # orphans may be ours, where this is a container's first process
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        return UNKNOWN_END

    def kill(self) -> None:
        """Kill it and all that it has started."""
        if self.code is None and self._lives():
            for kill in (os.killpg, os.kill):  # in its first moments it is not in a group of its own
                with suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """There is nothing to close."""
