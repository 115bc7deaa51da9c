"""A model instance that takes requests as they are, where they are parts of sequences (request_instance.py).

Control tensors and states come to the model as inputs of each request; what it answers under a state's name is kept for
the sequence's next request. (The real server's Python models get controls, but their states are never kept.)
"""

import threading
from collections.abc import Sequence
from time import monotonic_ns

from atoll.backends.api import RequestInstance
from atoll.errors import AtollError, InternalError
from atoll.execution.batching.plan import BatchPlan
from atoll.execution.request_instance import RequestModelInstance
from atoll.execution.sequences.tensors import SequenceTensors
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, Parameter
from atoll.tensor import Tensor


class SequenceRequestInstance(RequestModelInstance):
    """Where the model has states, a batch counts as executed when all of it is answered: only then is the state there
    with which the next request of each sequence goes on. So it does in iterative sequences, which are over when their
    request is neither given back nor to be answered any more.
    """

    def __init__(
        self,
        name: str,
        backend: RequestInstance,
        plan: BatchPlan,
        version: str,
        statistics: StatisticsRecorder,
        sequences: SequenceTensors,
    ):
        self._sequences = sequences
        self._late_lock = threading.Lock()
        # executed batches, each with those of its requests that are not answered
        self._late: list[tuple[Sequence[InferenceRequest], set[InferenceRequest]]] = []
        super().__init__(name, backend, plan, version, statistics)

    # ---- in

    def begin(self, requests: Sequence[InferenceRequest]) -> bool:
        """Take a batch. One that is cancelled now is executed all the same: its place means something to the model."""
        answered = [request for request in requests if not request.filler]
        try:
            for request in requests:
                self._sequences.give(request)
        except AtollError as error:
            for request in answered:
                self.fail(request, error, executed=False)
                self._room.answered()
            return False
        return self._begin(requests, monotonic_ns(), answered)

    def _prepare(self, request: InferenceRequest) -> None:
        self._sequences.prepare(request)

    # ---- what the backend says

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        if error is None and outputs and self._sequences.states and request in self._held:
            try:
                outputs = self._sequences.states.take(request, outputs)
            except InternalError as mistake:
                error, outputs = mistake, []
        super().respond(request, outputs, parameters=parameters, error=error, final=final)
        if final:
            self._settle_late(request)

    def finish(self, request: InferenceRequest) -> None:
        super().finish(request)
        self._settle_late(request)

    def reschedule(self, request: InferenceRequest) -> None:
        super().reschedule(request)
        self._settle_late(request)

    def released(self, batch: int, execution_ns: int) -> None:
        requests = self._executed(batch, execution_ns)
        if requests is None:
            return
        if self._sequences.known_when_answered:
            with self._late_lock:
                unanswered = {request for request in requests if request in self._held}
                if unanswered:
                    self._late.append((requests, unanswered))
                    return
        self._room.released(self, requests)

    def _settle_late(self, request: InferenceRequest) -> None:
        """The request was answered: perhaps as the last of a batch that has been executed."""
        if not self._late:
            return
        with self._late_lock:
            for entry in self._late:
                requests, unanswered = entry
                if request in unanswered:
                    unanswered.discard(request)
                    if unanswered:
                        return
                    self._late.remove(entry)
                    break
            else:
                return
        self._room.released(self, requests)
        self._room.advance()  # who says a single answer does not say that it was all

    def _unreleased(self) -> list[Sequence[InferenceRequest]]:
        with self._late_lock:
            late = [requests for requests, _ in self._late]
            self._late.clear()
        return [*super()._unreleased(), *late]
