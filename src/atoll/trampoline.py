"""Requests that the engine itself makes: run soon on the thread that is here, without recursion.

An answer may cause the next request (a step of an ensemble), whose answer causes another. Whoever sends answers holds
the thread's trampoline meanwhile; what they cause is done afterwards, one after the other, so that the answers of one
batch become the requests of one batch.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)


class _Trampoline(threading.local):
    def __init__(self) -> None:
        self.held = False
        self.waiting: deque[Callable[[], None]] = deque()


_trampoline = _Trampoline()


def soon(function: Callable[[], None]) -> None:
    """The `defer` (request.py) of a request that the engine makes: done when this thread's trampoline is let go, or at
    once where nobody holds it.
    """
    here = _trampoline
    here.waiting.append(function)
    if not here.held:
        here.held = True
        _bounce(here)


def hold() -> bool:
    """Put off what is to be done soon until `let_go`, which gets what this returns."""
    here = _trampoline
    if here.held:
        return False
    here.held = True
    return True


def let_go(outermost: bool) -> None:
    """The end of what `hold` began: do what has been put off, and what that causes."""
    if outermost:
        _bounce(_trampoline)


def _bounce(here: _Trampoline) -> None:
    waiting = here.waiting
    interrupt: BaseException | None = None
    while waiting:
        function = waiting.popleft()
        try:
            function()
        except Exception:  # the others are still to be done
            logger.exception("what was to be done soon failed")
        except BaseException as error:  # such as KeyboardInterrupt: they may be others' requests
            interrupt = error
    here.held = False
    if interrupt is not None:
        raise interrupt
