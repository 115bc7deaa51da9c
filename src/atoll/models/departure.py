"""Models that were taken out of service: they answer what they have taken, are freed, and their memory goes back."""

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic_ns

from atoll.models.memory import give_back_freed
from atoll.models.model import Model
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)

_LOOK_NS = 500_000_000  # how often a thread that waits for a busy model looks whether the server stops
_CLOSE_NS = 10_000_000_000  # an idle instance's thread ends at once; this long only on a machine that is stuck


class Departures:
    """Owns what is leaving: `see_off` as often as there is something, `finish` once, at the end. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[threading.Thread, Sequence[Model]] = {}
        self._deadline_ns: int | None = None

    def see_off(
        self,
        models: Sequence[Model],
        successor: Callable[[InferenceRequest], Model],
        gone: Callable[[], None],
    ) -> None:
        """Let these models finish what they have and free them, then call `gone`; at once where all are idle, and on a
        thread of its own otherwise. A request that still reaches one goes to what `successor` returns.
        """
        for model in models:
            model.retire(successor)
        if all(not model.in_flight() for model in models):
            self._free(models, gone)
            return
        thread = threading.Thread(target=self._wait_and_free, args=(models, gone), name="unload", daemon=True)
        with self._lock:
            self._waiting[thread] = models
        thread.start()

    def _wait_and_free(self, models: Sequence[Model], gone: Callable[[], None]) -> None:
        for model in models:
            while not model.drain(monotonic_ns() + _LOOK_NS):
                deadline_ns = self._deadline_ns
                if deadline_ns is not None and monotonic_ns() > deadline_ns:
                    break
        self._free(models, gone)
        with self._lock:
            self._waiting.pop(threading.current_thread(), None)

    def _free(self, models: Sequence[Model], gone: Callable[[], None]) -> None:
        for model in models:
            deadline_ns = monotonic_ns() + _CLOSE_NS if self._deadline_ns is None else self._deadline_ns
            if not model.unload(deadline_ns):
                logger.error("model '%s' is still executing and could not be freed", model.name)
        gone()
        if models:
            gc.collect()
            give_back_freed()

    def in_flight(self) -> int:
        """How many requests the leaving models still have."""
        with self._lock:
            waiting = list(self._waiting.values())
        return sum(model.in_flight() for models in waiting for model in models)

    def finish(self, deadline_ns: int) -> bool:
        """Wait until all are gone; what is not by the deadline is stopped. False when something was."""
        self._deadline_ns = deadline_ns
        clean = True
        while True:
            with self._lock:
                thread = next(iter(self._waiting), None)
            if thread is None:
                return clean
            thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9 + 2 * _LOOK_NS / 1e9)
            if thread.is_alive():
                clean = False
                with self._lock:
                    self._waiting.pop(thread, None)
