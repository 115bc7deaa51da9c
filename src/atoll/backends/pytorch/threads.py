"""How many threads PyTorch computes with, and its other settings that a whole process has.

torch.set_num_threads(n), seen with PyTorch 2.13: the calling thread computes with n from then on, a thread that has
not computed yet takes the last n that anybody has set, and all others keep theirs. So an instance says its number on
whichever thread executes it, when that thread's is another.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from atoll.backends.api import Placement
from atoll.backends.pytorch.settings import ModelSettings

logger = logging.getLogger(__name__)


class ThisThread(threading.local):
    """Of the thread that asks: how many threads an instance last wanted there; 0: nobody has."""

    count = 0


THIS_THREAD = ThisThread()

_JIT_SWITCHES = {
    "ENABLE_JIT_EXECUTOR": "_jit_set_profiling_executor",
    "ENABLE_JIT_PROFILING": "_jit_set_profiling_mode",
    "ENABLE_TENSOR_FUSER": "_jit_set_texpr_fuser_enabled",
}


class ProcessSettings:
    """What models have set for the whole process: the last one wins, as in Triton, and a warning says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: dict[str, tuple[Any, str]] = {}

    def apply(self, torch: Any, model: str, settings: ModelSettings) -> None:
        """Set what the model wants."""
        for key, on in (settings.process_switches or {}).items():
            function = getattr(torch._C, _JIT_SWITCHES[key], None)  # noqa: SLF001
            if function is not None:
                self._apply(key, on, model, function)
        if settings.inter_op_threads:
            self._apply("INTER_OP_THREAD_COUNT", settings.inter_op_threads, model, torch.set_num_interop_threads)
        if not settings.cudnn:
            self._apply("DISABLE_CUDNN", True, model, lambda on: setattr(torch.backends.cudnn, "enabled", not on))
        for key in settings.without_effect:
            logger.info("model '%s': parameter '%s' has no effect: PyTorch 2 has no such fuser", model, key)

    def _apply(self, key: str, value: Any, model: str, function: Callable[[Any], object]) -> None:
        with self._lock:
            before = self._set.get(key)
            self._set[key] = (value, model)
            if before is not None and before[0] == value:
                return
            try:
                function(value)
            except RuntimeError as error:  # the number of inter-op threads can be set once, and early
                logger.warning("model '%s': parameter '%s' stays as it was: %s", model, key, error)
                return
        if before is not None:
            text = "model '%s' sets parameter '%s' to %s for the whole process, where model '%s' had set %s"
            logger.warning(text, model, key, value, before[1], before[0])


def thread_count(torch: Any, settings: ModelSettings, placement: Placement, siblings: int) -> int:
    """With how many threads an instance on the CPU computes.

    What the parameters say; else, where a model has `siblings` instances on a host's cores, a share of them: each would
    compute with all cores, and wait for the others' threads. 0: as PyTorch does by itself.
    """
    if settings.intra_op_threads:
        return settings.intra_op_threads
    cores = len(placement.policy.cores) if placement.policy is not None else 0
    if siblings < 2 and not cores:
        return 0
    return max(1, (cores or DEFAULT.count(torch)) // max(1, siblings))


class _Default:
    """How many threads PyTorch takes by itself; asked before anybody has changed it."""

    def __init__(self) -> None:
        self._count = 0

    def count(self, torch: Any) -> int:
        if not self._count:
            self._count = torch.get_num_threads()
        return self._count


DEFAULT = _Default()


def use_threads(torch: Any, count: int) -> None:
    """The calling thread computes with so many from now on; 0: as many as PyTorch takes by itself."""
    torch.set_num_threads(count or DEFAULT.count(torch))
    THIS_THREAD.count = count
