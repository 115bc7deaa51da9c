"""How a child hears from the server apart from its work: is it alive, what does it do, and is the server still there?

A thread of its own answers, so a child that executes for hours answers too, as long as the interpreter runs. Where it
does not (native code that keeps the interpreter lock), signals reach what is left: the kernel kills the child's process
group when the server is gone, and a signal prints every thread's stack.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import signal
import sys
from _thread import get_ident, start_new_thread
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from typing import NoReturn

PING = b"p"  # from the server; the answer is the same byte
STACK = b"s"  # from the server; the answer is the same byte, a length of four bytes (little-endian), and a text
STARTED = b"h"  # from the child: all is there, and its host is called now
STACK_SIGNAL = signal.SIGRTMIN + 5  # prints all stacks on standard error, from native code

_MAX_STACK_BYTES = 256 << 10
_MAX_FRAMES = 64  # of one thread
_LOOK_MS = 1000  # how often the parent is looked for


EXITS = "os._exit was called"  # on standard error, before the stack of who called it

leave = os._exit  # without a word


def end_group() -> NoReturn:
    """Kill this process and all that it has started."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
    leave(1)  # this is a bug: the group is ours


def say_who_leaves() -> None:
    """From now on `os._exit` says where it was called; in forks of this process, which end by it, it does not."""
    own = os.getpid()

    def _exit(status: int) -> NoReturn:
        if os.getpid() == own:
            with suppress(Exception):
                os.write(2, f"{EXITS}\n".encode())
                faulthandler.dump_traceback(file=2, all_threads=False)
        leave(status)

    os._exit = _exit


def tie_to(lifeline: int) -> None:
    """Let the kernel kill this process's group as soon as the other end of a pipe is closed, whatever it does then.

    PR_SET_PDEATHSIG would do it too early: when the thread ends that has started the child, not the process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        if not os.read(lifeline, 1):  # closed before it was tied
            end_group()


def print_stack_on_crash() -> None:
    """A crash in native code says where in Python it was; and so does the signal that asks for it."""
    faulthandler.enable(file=2, all_threads=True)
    faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)


def answer(control: socket.socket, watch_parent: bool) -> None:
    """Start the thread that answers the server. With `watch_parent`, the end of the parent process ends this one."""
    start_new_thread(_answer, (control, os.getppid() if watch_parent else 0, get_ident()))


def _answer(control: socket.socket, parent: int, main_thread: int) -> None:
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        ready = waiting.poll(_LOOK_MS)
        if parent and os.getppid() != parent:
            end_group()
        if not ready:
            continue
        try:
            asked = control.recv(64)
            for one in asked:
                if one == PING[0]:
                    control.sendall(PING)
                elif one == STACK[0]:
                    text = stacks(main_thread, without=get_ident()).encode(errors="backslashreplace")[:_MAX_STACK_BYTES]
                    control.sendall(STACK + len(text).to_bytes(4, "little") + text)
        except OSError:
            asked = b""
        if not asked:  # the server is gone
            end_group()


def stacks(main_thread: int, without: int) -> str:
    """What each thread is doing, innermost call last, the main thread first; `without` is one to leave out."""
    import traceback  # when first needed: it costs 5 ms

    threading = sys.modules.get("threading")
    names = {one.ident: one.name for one in threading.enumerate()} if threading else {}
    names[main_thread] = "MainThread"
    found = [one for one in sys._current_frames().items() if one[0] != without]  # noqa: SLF001
    found.sort(key=lambda one: one[0] != main_thread)
    parts = []
    for ident, frame in found:
        lines = traceback.format_stack(frame)
        parts.append(f"Thread {names.get(ident, 'without a name')}:\n" + "".join(lines[-_MAX_FRAMES:]))
    return "\n".join(parts)
