"""Models that were taken out of service: they answer what they have taken, are freed, and their memory goes back."""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic_ns, sleep

from atoll.models.memory import give_back_freed
from atoll.models.model import Model
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)

_LOOK_NS = 500_000_000  # how often a thread that waits for a busy model looks whether the server stops
_IDLE_S = 0.002  # how often a server that stops looks whether ensembles are idle
_CLOSE_NS = 10_000_000_000  # an idle instance's thread ends at once; this long only on a machine that is stuck


def free(model: Model, deadline_ns: int) -> None:
    """As `Model.unload`, once it has refused; a backend that fails at it keeps nothing else from being freed."""
    try:
        if not model.unload(deadline_ns):
            logger.error("model '%s' is still executing and could not be freed", model.name)
    except Exception:
        logger.exception("model '%s' version %s could not be freed in whole", model.name, model.version)


def refuse_in_order(models: Sequence[Model], deadline_ns: int) -> None:
    """Let these models take no more requests: at once, but for those that ensembles among them still need for what
    they have. These refuse clients, and go on with the ensembles' steps until there are none, or the deadline comes.
    """
    users = {model: _users(model, models) for model in models}
    left = list(models)
    for model in left:
        if users[model]:
            model.close_to_clients()
    while left:
        free = [model for model in left if not any(user in left or user.in_flight() for user in users[model])]
        for model in free:
            model.refuse()
            left.remove(model)
        if not free and monotonic_ns() >= deadline_ns:
            break
        if not free:
            sleep(_IDLE_S)
    for model in left:
        model.refuse()


def _users(model: Model, models: Sequence[Model]) -> list[Model]:
    """The ensembles that have it, or another of its name, as a step."""
    return [
        one
        for one in models
        if one.config.ensemble_scheduling is not None
        and any(step.model_name == model.name for step in one.config.ensemble_scheduling.step)
    ]


class Departures:
    """Owns what is leaving: `see_off` as often as there is something, then `hurry`, and `wait` at the end.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Sequence[Model]] = []
        self._deadline_ns: int | None = None

    def see_off(
        self,
        models: Sequence[Model],
        successor: Callable[[InferenceRequest], Model],
        gone: Callable[[], None],
        *,
        users: Sequence[Model] = (),
    ) -> None:
        """Let these models finish what they have and free them, then call `gone`; at once where all are idle, and on a
        thread of its own otherwise. A request that still reaches one goes to what `successor` returns.

        `users` are ensembles on their way out, which need these models for the requests that they have.
        """
        if not any(model.in_flight() for model in users):
            for model in models:
                model.retire(successor)
            if not any(model.in_flight() for model in models):
                self._free(models, gone)
                return
        with self._changed:
            self._waiting.append(models)
        threading.Thread(
            target=self._wait_and_free, args=(models, successor, gone, users), name="unload", daemon=True
        ).start()

    def _wait_and_free(
        self,
        models: Sequence[Model],
        successor: Callable[[InferenceRequest], Model],
        gone: Callable[[], None],
        users: Sequence[Model],
    ) -> None:
        self._drain(users)
        for model in models:
            model.retire(successor)
        self._drain(models)
        try:
            self._free(models, gone)
        finally:
            with self._changed:
                self._waiting = [one for one in self._waiting if one is not models]
                self._changed.notify_all()

    def _drain(self, models: Sequence[Model]) -> None:
        for model in models:
            while not model.drain(monotonic_ns() + _LOOK_NS):
                if self._deadline_ns is not None and monotonic_ns() > self._deadline_ns:
                    break

    def _free(self, models: Sequence[Model], gone: Callable[[], None]) -> None:
        stopping = self._deadline_ns
        for model in models:
            free(model, monotonic_ns() + _CLOSE_NS if stopping is None else stopping)
        try:
            gone()
        except Exception:
            logger.exception("what an unloaded model leaves behind could not be cleared away")
        if models and stopping is None:  # a process that ends gives everything back
            give_back_freed()
            for model in models:
                if model.arena is not None:
                    model.arena.release()

    def in_flight(self) -> int:
        """How many requests the leaving models still have."""
        with self._changed:
            return sum(model.in_flight() for models in self._waiting for model in models)

    def hurry(self, deadline_ns: int) -> None:
        """What is not done by this time is stopped: the server ends."""
        self._deadline_ns = deadline_ns

    def wait(self, deadline_ns: int) -> bool:
        """Until all that was seen off is gone; False when the deadline came first, and a little later."""
        with self._changed:
            while self._waiting:
                left_ns = deadline_ns + 2 * _LOOK_NS - monotonic_ns()
                if left_ns <= 0:
                    return False
                self._changed.wait(left_ns / 1e9)
        return True
