"""Backends by name: found through the entry points "atoll.backends", imported when a model first needs one."""

import threading
from importlib.metadata import entry_points

from atoll.backends.api import Backend
from atoll.errors import NotFoundError

GROUP = "atoll.backends"

_lock = threading.Lock()
_made: dict[str, Backend] = {}


def backend_names() -> list[str]:
    """The names of all installed backends, whether their runtime is installed or not."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_backend(name: str) -> Backend:
    """The backend of that name, made on first use; models share it.

    Raises NotFoundError listing the installed ones when there is none of that name, and what the backend's own
    constructor raises, MissingExtraError above all, when its runtime is not there.
    """
    with _lock:
        if name not in _made:
            points = list(entry_points(group=GROUP, name=name))
            if not points:
                raise NotFoundError(
                    f"unable to find backend library for backend '{name}': no installed package offers it. "
                    f"Installed backends: {', '.join(backend_names()) or 'none'}"
                )
            _made[name] = next(iter(points)).load()()
        return _made[name]
