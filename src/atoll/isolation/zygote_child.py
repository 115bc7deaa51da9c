"""The process that instances of one model are forked from, once it has run the model's module.

It has one thread, so that its forks inherit no lock that another thread holds, and it does nothing but fork: what it
has loaded is shared by the instances until one of them writes to it.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from atoll.devices.proc_stat import read_stat
from atoll.isolation import child

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

FORK = b"F"  # the request, which carries these descriptors: those of child.Descriptors, and the fork's output
HANDED = len(child.Descriptors._fields) + 1


def serve(setup: Mapping[str, Any], data: socket.socket, regions: socket.socket) -> None:
    """Prepare what the forks share, then fork as `regions` asks, and say on `data` what has become of it, one JSON
    document a line: {"ready": how many threads that has started}, {"failed": why}, {"forked": pid, "start": time},
    {"refused": why}, {"ended": pid, "code": code}.

    What is to be shared is loaded by the function `prepare(setup)` of the module that `setup["host"]` names.
    """
    try:
        module = import_module(setup["host"].partition(":")[0])
        ours = _thread_count()  # numpy's library may have some, which it ends before a fork and starts again
        module.prepare(setup["setup"])
    except BaseException as error:
        import traceback

        text = "".join(traceback.format_exception_only(type(error), error)).strip()
        _say(data, failed=text)
        if isinstance(error, SystemExit):
            return
        raise
    gc.collect()
    gc.freeze()  # a collection in a fork would write to every object, and so copy it
    _say(data, ready=_thread_count() - ours)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    running: set[int] = set()
    waiting = select.poll()
    waiting.register(regions, select.POLLIN)
    waiting.register(woken, select.POLLIN)
    while True:
        ready = {number for number, _ in waiting.poll()}
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
        ended = {pid: code for pid in running if (code := _reap(pid)) is not None}
        for pid, code in ended.items():
            _say(data, ended=pid, code=code)
        running -= ended.keys()
        if regions.fileno() in ready:
            request, handed, _, _ = socket.recv_fds(regions, 1, HANDED)
            if not request:
                return  # the server is gone, or needs no further forks
            pid = _fork(handed, data, (woken, wake))
            if pid:
                running.add(pid)


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def _nothing(number: int, frame: FrameType | None) -> None:
    """A child has ended: the loop is woken by the number that this signal writes."""


def _say(data: socket.socket, **facts: Any) -> None:
    data.sendall(json.dumps(facts).encode() + b"\n")


def _reap(pid: int) -> int | None:
    """The exit code, or the negative signal, of a fork that has ended; what it has started is killed then."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # before its number is free for others
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fork(handed: list[int], data: socket.socket, wakers: tuple[int, int]) -> int:
    """Its pid; 0 where it was refused. Does not return in the fork."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        pid = os.fork()
    except OSError as error:
        _say(data, refused=str(error))
        pid = -1
    if pid == 0:
        try:
            _become_child(handed, wakers)
        finally:
            os._exit(1)
    for one in handed:
        os.close(one)
    if pid < 0:
        return 0
    stat = read_stat(pid)
    _say(data, forked=pid, start=stat.start if stat else 0)
    return pid


def _become_child(handed: list[int], wakers: tuple[int, int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *descriptors, output = handed
    os.dup2(output, 1)
    os.dup2(output, 2)
    # The orders were read and closed long ago. The objects round the others live as long as this process.
    assert child.inherited is not None
    for one in (output, *wakers, *child.inherited[:-1]):
        os.close(one)
    child.run(child.Descriptors(*descriptors), forked=True)
