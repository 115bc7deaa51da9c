"""Backends by name: found through the entry points "atoll.backends", imported when a model first needs one; and the
python-based ones, which are folders with a model.py.
"""

import threading
from importlib.metadata import entry_points
from pathlib import Path

from atoll.backends.api import Backend
from atoll.errors import NotFoundError

GROUP = "atoll.backends"
PYTHON_RUNTIME = "model.py"
"""What `runtime` says in the configuration of a model whose backend is python-based, and the file that this one is."""

_lock = threading.Lock()
_made: dict[str, Backend] = {}


def backend_names() -> list[str]:
    """The names of all installed backends, whether their runtime is installed or not."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def backend_origins() -> dict[str, str]:
    """By the names of all installed backends, the package and version that each comes from."""
    return {
        point.name: f"{point.dist.name} {point.dist.version}" if point.dist is not None else ""
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
    }


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


def python_based_names(directory: str) -> list[str]:
    """The python-based backends in the folder that `--backend-directory` names, sorted; none where it is ""."""
    if not directory:
        return []
    try:
        return sorted(file.parent.name for file in Path(directory).glob(f"*/{PYTHON_RUNTIME}"))
    except OSError:
        return []


def python_based_folder(directory: str, name: str) -> Path | None:
    """The folder of the python-based backend of that name; None where there is none."""
    if not directory or not name or "/" in name or "\0" in name or name in (".", ".."):
        return None
    folder = Path(directory).absolute() / name
    return folder if (folder / PYTHON_RUNTIME).is_file() else None
