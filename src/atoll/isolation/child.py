"""The main program of a child process: what stands between the interpreter's start and the code that does the work.

It runs in whatever Python the model needs, beside whatever that environment holds. Of this package it shows the folder,
under the name `atoll`, and nothing that is installed beside it.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
from _thread import _local
from contextlib import suppress
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, NamedTuple

from atoll.isolation import child_control
from atoll.isolation.limits import limit_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, ModuleType
    from typing import NoReturn

PB_UTILS = "atoll.backends.python.utils"
_ALIASES = ("triton_python_backend_utils", "c_python_backend_utils")
_HELD = (signal.SIGINT, signal.SIGTERM)  # the server gets them too, and ends its children when it has drained them


class Descriptors(NamedTuple):
    """What a child is born with, besides its standard streams."""

    control: int
    data: int
    regions: int
    lifeline: int
    orders: int  # a file: the JSON document that says what to do


inherited: Descriptors | None = None  # those of this process, for a fork of it to close


class _Aliases:
    """Gives the names under which models know pb_utils to our module, when they are imported."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Aliases) if name in _ALIASES else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(PB_UTILS)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run a child that was spawned. The first argument holds its descriptors' numbers; the second is for `ps` only."""
    del sys.argv[1:]
    run(Descriptors(*(int(one) for one in arguments[0].split(","))))


def run(descriptors: Descriptors, *, forked: bool = False) -> NoReturn:
    """Do what the orders say, and end the process. `forked`: the parent is a zygote, whose end is not the server's."""
    global inherited
    inherited = descriptors
    for one in descriptors:
        os.set_inheritable(one, False)
    child_control.tie_to(descriptors.lifeline)
    _hold_signals()
    if not forked:  # a fork has the hooks of its zygote
        os.register_at_fork(before=_delay_signals, after_in_parent=_resume_signals, after_in_child=_let_go_of_signals)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream that the environment has put there
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    child_control.print_stack_on_crash()
    control, data, regions = (socket.socket(fileno=one) for one in descriptors[:3])
    code = 1
    try:
        with open(descriptors.orders, "rb") as file:
            orders: dict[str, Any] = json.loads(file.read())
        _name_process(orders["name"])
        if orders.get("policy"):  # before there are any threads
            _apply_policy(orders["policy"])
        if not orders["single_threaded"]:
            child_control.answer(control, watch_parent=not forked)
        limit_memory(orders["memory_limit"])
        if not any(one is _Aliases for one in sys.meta_path):
            sys.meta_path.insert(0, _Aliases)
        module, _, attribute = orders["host"].partition(":")
        host = getattr(import_module(module), attribute)
        control.sendall(child_control.STARTED)
        host(orders["setup"], data, regions)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error.code, str):
            sys.stderr.write(error.code + "\n")
    except BaseException as error:
        _report(error, data)
    _leave(code)


def _hold_signals() -> None:
    """Let the signals that mean the server do nothing here. Not by SIG_IGN: programs that a model starts would inherit
    it, and forks of this process get the default back, for whoever terminates them.
    """
    for number in _HELD:
        signal.signal(number, _nothing)
        signal.siginterrupt(number, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(number: int, frame: FrameType | None) -> None:
    """A signal that the server, which has had it too, acts on."""


_before_fork = _local()  # the signal mask of the thread that forks


def _delay_signals() -> None:
    """One that a fork gets at once must wait until it has its default meaning there."""
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def _resume_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.mask)


def _let_go_of_signals() -> None:
    for number in _HELD:
        if signal.getsignal(number) is _nothing:
            signal.signal(number, signal.SIG_DFL)
    _resume_signals()


def _name_process(name: str) -> None:
    with suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(name.encode()[-15:])  # as long as the kernel keeps it


def _apply_policy(document: Any) -> None:
    from atoll.devices.host_policy import apply, from_document  # few processes have one, and it takes its time

    apply(from_document(document))


def _report(error: BaseException, data: socket.socket) -> None:
    """Tell the server why there is nothing to talk to, and the log where that was."""
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    with suppress(Exception):  # it may be numpy that is missing, and the log has it
        from atoll.isolation.wire import pack_failed

        data.sendall(pack_failed(text))


def _leave(code: int) -> NoReturn:
    """End the process as the interpreter would, but for waiting: threads that the model has left behind end with it."""
    threading = sys.modules.get("threading")
    if threading is not None:
        left = [one.name for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
        if left:
            sys.stderr.write(f"threads that still run end with the process: {', '.join(left[:10])}\n")
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    child_control.leave(code & 0xFF)
