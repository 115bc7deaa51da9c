"""The end of a child that takes too long: it is killed, and what it was doing is said."""

import logging
import re
from collections.abc import Callable

from atoll.isolation.process import Child
from atoll.isolation.supervisor import Supervisor
from atoll.observability.logging.extras import with_detail

logger = logging.getLogger(__name__)

_FRAME = re.compile(r'File "([^"]+)", line (\d+),? in (\S+)')
_OURS = ("/atoll/isolation/", "/atoll/backends/python/")


def kill_for_slowness(
    supervisor: Supervisor, child: Child, because: str, still: Callable[[], bool] = lambda: True
) -> None:
    """Kill it with this reason, and the place where it was. Waits for its stack, so not on the supervisor's thread; the
    child may live where it is not `still` at it then.
    """
    stack = supervisor.stack_of(child) or ""
    if not still():
        return
    place = _place(stack)
    if stack:
        logger.error("what instance '%s' was doing:", child.spec.name, extra=with_detail(stack))
    child.kill(f"was killed by the server because {because}" + (f"; it was at {place}" if place else ""))


def _place(stack: str) -> str:
    """The innermost line of the model's own code."""
    frames = [frame for frame in _FRAME.findall(stack) if not any(part in frame[0] for part in _OURS)]
    model = [frame for frame in frames if frame[0].endswith("model.py")]
    if not frames:
        return ""
    file, line, function = (model or frames)[-1]
    return f"{file}:{line} in {function}"
