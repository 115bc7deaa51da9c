"""The pool of an ensemble: it has no instances, its requests are run by other models."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

from atoll.config.model_config import ModelConfig
from atoll.errors import UnavailableError
from atoll.execution.ensembles.run import EnsembleRun
from atoll.execution.in_flight import InFlight, not_accepted
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import EXECUTING, QUEUED, InferenceRequest
from atoll.scheduling.ensembles.graph import EnsembleGraph

Submit = Callable[[InferenceRequest], None]


class EnsemblePool:
    """A Pool (pool_api.py). Thread-safe.

    `submit` gives a step's request to its model: it raises AtollError where the request is refused, and the request's
    sender hears nothing then.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        graph: EnsembleGraph,
        statistics: StatisticsRecorder,
        submit: Submit,
    ):
        self.name = config.name
        self.version = version
        self.graph = graph
        self.statistics = statistics
        self.submit_step = submit
        self._lock = threading.Lock()
        self._in_flight = InFlight(self._lock)
        self._runs: set[EnsembleRun] = set()  # those that have no final answer yet
        self._accepting = False
        self.last_used_ns = monotonic_ns()

    # ---- start

    def start(self) -> None:
        """Begin to accept requests."""
        with self._lock:
            self._accepting = True

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Run a validated request. Raises UnavailableError when the pool no longer accepts any."""
        run = EnsembleRun(self, request)
        with self._lock:
            if not self._accepting:
                raise not_accepted(self.name)
            self.last_used_ns = request.timeline.queue_start = monotonic_ns()
            self._runs.add(run)
            self._in_flight.count += 1
        if request.trace is not None:
            request.trace.composed()
        request.move(QUEUED)
        request.move(EXECUTING)
        request.timeline.compute_start = monotonic_ns()
        run.begin()

    def ended(self, run: EnsembleRun) -> None:
        """It has had its final answer."""
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
                self._in_flight.finished(1)

    # ---- what it says of itself

    def pending(self) -> int:
        """0: what waits, waits in the queues of the steps' models."""
        return 0

    def in_flight(self) -> int:
        """How many requests have no final answer yet."""
        with self._lock:
            return self._in_flight.count

    def sequences(self) -> int:
        """0: they are those of the steps' models."""
        return 0

    def instances(self) -> list[Any]:
        """None."""
        return []

    def change_instances(self, added: Sequence[Any], removed: Sequence[Any]) -> bool:
        """False: it has none that could be changed."""
        return False

    # ---- stop

    def hurry(self) -> None:
        """Nothing waits here."""

    def refuse(self) -> None:
        """Accept nothing new; what was accepted still runs."""
        with self._lock:
            self._accepting = False

    def drain(self, deadline_ns: int) -> bool:
        """Wait until all that was accepted is answered; False when the deadline came first."""
        return self._in_flight.drain(deadline_ns)

    def stop(self, deadline_ns: int) -> bool:
        """End what is still running with an error: at once what has no step running, and when the deadline has come
        what has. Nothing is left to be freed: always True.
        """
        with self._lock:
            self._accepting = False
            runs = list(self._runs)
        error = UnavailableError(f"model '{self.name}' was stopped before the request was answered")
        for run in runs:
            run.fail(error)
        if not self._in_flight.drain(deadline_ns):
            for run in runs:
                run.abandon()
        return True
