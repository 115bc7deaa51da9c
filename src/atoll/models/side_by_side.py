"""Work on several things at the same time, which may be left behind when nobody wants it any more."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
_HEARING_S = 0.5  # a signal that comes just before a wait begins is not heard during it


def work_side_by_side(work: Callable[[_Item], None], items: Iterable[_Item], threads: int, name: str) -> None:
    """Call `work` for each item on at most so many threads; returns when all is done.

    Raises the first exception that one raises, when the others have ended; nothing is begun after it. The threads are
    daemons: who interrupts this (Ctrl-C) goes on at once, and a process may end although some of it never does.
    """
    left = deque(items)
    errors: list[BaseException] = []
    lock = threading.Lock()
    working = min(threads, len(left))
    ended = threading.Event()  # not `join`: interrupted, that takes a thread for ended (CPython 3.11, bpo-45274)
    if not working:
        return

    def run() -> None:
        nonlocal working
        while not errors:
            try:
                item = left.popleft()
            except IndexError:
                break
            try:
                work(item)
            except BaseException as error:
                errors.append(error)
        with lock:
            working -= 1
            if not working:
                ended.set()

    try:
        for _ in range(working):
            threading.Thread(target=run, name=name, daemon=True).start()
        while not ended.wait(_HEARING_S):
            pass
    except BaseException:
        left.clear()
        raise
    if errors:
        raise errors[0]
