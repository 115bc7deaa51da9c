"""Starting a child process, and holding our ends of what connects it with us.

A child is a program of its own, started by exec: the server has threads, and a fork of it would inherit locks that no
thread will ever release. It leads a session of its own, so that a terminal's Ctrl-C does not reach it and all that it
starts can be killed with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atoll.devices.host_policy import HostPolicy
from atoll.errors import InternalError
from atoll.isolation.child import Descriptors

if TYPE_CHECKING:
    from atoll.isolation.zygote import Zygote

_PACKAGE = Path(__file__).parents[1]
# Shows our folder as `atoll` without what is installed beside it, and not the current directory, which -c puts there.
_BOOTSTRAP = """\
import sys
if sys.path[:1] == [""]: del sys.path[0]
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("atoll", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["atoll"] = atoll = module_from_spec(spec)
spec.loader.exec_module(atoll)
from atoll.isolation.child import main
main(sys.argv[2:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What a child is to be. `environment` is all of its variables, `memory_limit` is in bytes (0: none)."""

    name: str  # of the instance, "identity_0_0"
    model: str
    python: tuple[str, ...] = (sys.executable,)
    environment: Mapping[str, str]
    host: str  # "module:attribute", called in the child with `setup`, the data socket and the regions socket
    setup: Mapping[str, Any]  # what JSON can hold
    memory_limit: int = 0
    working_directory: str = ""
    policy: HostPolicy | None = None  # the cores that it keeps to, whoever starts it
    version: str = ""  # of the model, for the log
    single_threaded: bool = False  # no thread of ours runs in it, so that it may fork: nobody answers for it


class Process(Protocol):
    """A process, whoever its parent is. Usable from any thread."""

    @property
    def pid(self) -> int:
        """Its number, and that of its process group."""

    @property
    def descriptor(self) -> int | None:
        """Readable when the process has ended; None where nothing tells, and `reap` must be asked."""

    def reap(self) -> int | None:
        """None while it runs; else its exit code, or the negative number of the signal that killed it. Whatever it has
        started is killed then.
        """

    def kill(self) -> None:
        """Kill it and all that it has started. Does nothing after its end."""

    def close(self) -> None:
        """Let go of what this object holds, after the process's end."""


_REAP_TRIES, _REAP_TRY_S = 500, 0.01
UNKNOWN_END = 1 << 16  # an exit code that no process has: it ended, and nobody could see how


class Child:
    """A started child. Whoever launched it closes `data` and `regions`; the rest is its supervisor's."""

    def __init__(
        self, spec: ChildSpec, process: Process, data: socket.socket, regions: socket.socket, watched: WatchedEnds
    ):
        self.spec = spec
        self.data = data
        self.regions = regions
        self.process = process
        self.watched = watched
        self.killed_because = ""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.reap() is None

    def kill(self, because: str = "was killed by the server") -> None:
        """End it at once, with all that it has started. `because` is what its end is told with."""
        self.killed_because = self.killed_because or because
        self.process.kill()

    def discard(self) -> None:
        """End it and let go of everything, where no supervisor has come to watch it."""
        self.kill()
        for _ in range(_REAP_TRIES):
            if not self.alive:
                break
            time.sleep(_REAP_TRY_S)
        self.process.close()
        self.watched.close()
        self.data.close()
        self.regions.close()


@dataclass(frozen=True, slots=True)
class WatchedEnds:
    """Our ends of what only the supervisor uses."""

    control: socket.socket
    output: int  # standard output and standard error, in the order in which they were written
    lifeline: int  # closed by whatever ends this process, which ends the child

    def close(self) -> None:
        """Close them all; a child that still runs is killed by that."""
        self.control.close()
        os.close(self.output)
        os.close(self.lifeline)


def launch(spec: ChildSpec, zygote: Zygote | None = None) -> Child:
    """Start a child: a program of its own, or a fork of the zygote. A supervisor must watch it from then on.

    Raises InternalError where it cannot be started.
    """
    document = {
        "name": spec.name,
        "host": spec.host,
        "setup": dict(spec.setup),
        "memory_limit": spec.memory_limit,
        "single_threaded": spec.single_threaded,
        "policy": spec.policy.document() if spec.policy is not None else None,
    }
    ours: list[socket.socket] = []
    theirs: list[socket.socket] = []
    descriptors: list[int] = []
    try:
        for _ in range(3):
            our_end, their_end = socket.socketpair()
            ours.append(our_end)
            theirs.append(their_end)
        lifeline_of_child, lifeline = os.pipe()
        descriptors += [lifeline_of_child, lifeline]
        output, output_of_child = os.pipe()
        descriptors += [output, output_of_child]
        orders = os.memfd_create("atoll-orders")
        descriptors.append(orders)
        _write(orders, json.dumps(document).encode())
        control, data, regions = ours
        handed = Descriptors._make([one.fileno() for one in theirs] + [lifeline_of_child, orders])
        process: Process
        if zygote is None:
            process = _Spawned(spec, handed, output_of_child)
        else:
            process = zygote.fork(spec, handed, output_of_child)
    except BaseException:
        for one in (*ours, *theirs):
            one.close()
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    for one in theirs:
        one.close()
    for descriptor in (lifeline_of_child, output_of_child, orders):
        os.close(descriptor)
    control.setblocking(False)
    os.set_blocking(output, False)
    return Child(spec, process, data, regions, WatchedEnds(control, output, lifeline))


def _write(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)


class _Spawned:
    """A child of this process."""

    def __init__(self, spec: ChildSpec, handed: Descriptors, output: int):
        numbers = ",".join(map(str, handed))
        try:
            self._popen = subprocess.Popen(
                [*spec.python, "-c", _BOOTSTRAP, str(_PACKAGE), numbers, spec.name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(spec.environment),
                cwd=spec.working_directory or None,
                pass_fds=handed,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise InternalError(
                f"the process of instance '{spec.name}' of model '{spec.model}' cannot be started with "
                f"{' '.join(spec.python)}: {error}"
            ) from error
        self.pid = self._popen.pid
        self.descriptor: int | None = None
        with suppress(OSError):  # Linux before 5.3
            self.descriptor = os.pidfd_open(self.pid)
        self._lock = threading.Lock()  # between looking whether it lives, reaping it, and a signal to its number

    def reap(self) -> int | None:
        with self._lock:
            if self._popen.returncode is None:
                try:
                    if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                        with suppress(ProcessLookupError, PermissionError):
                            os.killpg(self.pid, signal.SIGKILL)  # before its number is free for others
                        self._popen.wait()
                except ChildProcessError:  # other code of this process waits for all children
                    self._popen.returncode = UNKNOWN_END
            return self._popen.returncode

    def kill(self) -> None:
        with self._lock:
            if self._popen.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)
