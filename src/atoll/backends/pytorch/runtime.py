"""PyTorch itself: imported when a model first needs it, and quiet."""

import threading
from typing import Any

import numpy as np

from atoll.backends.recorded_warnings import recorded_warnings
from atoll.backends.runtime import import_runtime

_lock = threading.Lock()
_torch: Any = None


def import_torch() -> Any:
    """The module. Raises MissingExtraError where it cannot be imported."""
    global _torch
    with _lock:
        if _torch is None:
            torch = import_runtime("torch", backend="pytorch", library="PyTorch", extra="pytorch")
            _use_up_warning(torch)
            _torch = torch
    return _torch


def _use_up_warning(torch: Any) -> None:
    # Once a process, PyTorch warns of a tensor over memory that must not be written to. Requests' memory is such; the
    # backend sees to it that no model writes there (see calls.py).
    with recorded_warnings():
        array = np.zeros(1, np.float32)
        array.flags.writeable = False
        torch.from_numpy(array)
