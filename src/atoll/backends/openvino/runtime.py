"""OpenVINO itself: imported when a model first needs it, and without its messages to its maker."""

import sys
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from atoll.backends.runtime import import_runtime

_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()


@dataclass(frozen=True, slots=True)
class OpenVino:
    """The module, its version, and a request's own `infer`, without the walk over its inputs that the public one takes
    first: what that checks, the engine has checked.
    """

    module: Any
    version: str
    infer: Any

    def new_core(self) -> Any:
        """What reads and compiles models, apart from all others."""
        return self.module.Core()


def import_openvino() -> OpenVino:
    """Raises MissingExtraError where it is not installed."""
    with _importing:
        return _found()


@cache
def _found() -> OpenVino:
    # Importing OpenVINO sends an event to Google Analytics and writes into the user's home unless a file there forbids
    # it; where its package for that cannot be imported, it does neither. Who imports OpenVINO before us decides.
    silenced = "openvino" not in sys.modules and _TELEMETRY not in sys.modules
    if silenced:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python says: cannot be imported
    try:
        module = import_runtime("openvino", backend="openvino", library="OpenVINO", extra="openvino")
    finally:
        if silenced:
            del sys.modules[_TELEMETRY]
    return OpenVino(module, str(module.__version__), _own_infer(module))


def _own_infer(module: Any) -> Any:
    # The class below the public one and its wrapper, the binding's own.
    return next(one for one in reversed(module.InferRequest.__mro__) if "infer" in vars(one)).infer
