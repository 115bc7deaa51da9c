"""A model instance that takes requests as they are: which it has, what it answers to each, and what is counted of it.

The counterpart of instance.py for backends that say `requests` (backends/api.py). Nothing here waits: batches go in by
`begin`, and what the backend says of them comes back through `Answers`, on its own threads.
"""

import logging
from collections.abc import Sequence
from itertools import count
from threading import Event
from time import monotonic_ns
from typing import Protocol

from atoll.backends.api import RequestInstance
from atoll.devices.host_policy import HostPolicy
from atoll.errors import AtollError, CancelledError, InternalError, UnavailableError
from atoll.execution.batching.batch import BatchPlan
from atoll.execution.driving import Pace
from atoll.execution.permit import Permit
from atoll.execution.reshaping_instance import in_models_shapes
from atoll.execution.response_check import ResponseCheck
from atoll.execution.warmup import WarmupSample, warmup_failure
from atoll.observability.logging.extras import about
from atoll.observability.statistics.failure_reasons import failure_reason
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.observability.statistics.responses import ResponseProgress
from atoll.request import DONE, EXECUTING, QUEUED, InferenceRequest, InferenceResponse, Parameter
from atoll.tensor import Tensor

logger = logging.getLogger(__name__)


class Room(Protocol):
    """Who gives an instance its batches, and hears what becomes of them: the pool."""

    def released(self, instance: "RequestModelInstance", requests: Sequence[InferenceRequest]) -> None:
        """A batch of these has been executed."""

    def answered(self) -> None:
        """A request has had its final answer."""

    def requeue(self, instance: "RequestModelInstance", request: InferenceRequest) -> None:
        """The request is to be executed again."""

    def down(
        self, instance: "RequestModelInstance", reason: str, batches: Sequence[Sequence[InferenceRequest]] = ()
    ) -> None:
        """It takes nothing until `up`, and what it had is answered: these batches, which were not `released`."""

    def up(self, instance: "RequestModelInstance") -> None:
        """It takes batches again."""

    def advance(self) -> None:
        """Give out what is queued, if there is room."""


class _Batch:
    """One that is being executed."""

    __slots__ = ("begin_ns", "requests", "size")

    def __init__(self, requests: Sequence[InferenceRequest], begin_ns: int):
        self.requests = requests
        self.begin_ns = begin_ns
        self.size = sum([request.batch_size for request in requests])


class RequestModelInstance:
    """Every request that `begin` takes gets its final answer, or is given back to be queued again. Thread-safe."""

    def __init__(
        self, name: str, backend: RequestInstance, plan: BatchPlan, version: str, statistics: StatisticsRecorder
    ):
        self.name = name
        self.pace = Pace()
        self.permit: Permit | None = None  # that it needs for each batch, if any
        self.policy: HostPolicy | None = None  # of what it runs in
        self._backend = in_models_shapes(backend, plan)
        self._check = ResponseCheck(plan)
        self._model_name = plan.model_name
        self._version = version
        self._statistics = statistics
        self._responses = statistics.responses
        self._room: Room = _NoRoom()
        self._numbers = count(1)
        self._batches: dict[int, _Batch] = {}
        # begun, and not finally answered; whoever removes one ends it
        self._held: dict[InferenceRequest, ResponseProgress | None] = {}
        self._last_release_ns = 0
        self._closed = False
        self._backend.open(self)

    # ---- in

    def attach(self, room: Room) -> None:
        """From now on this is told what happens."""
        self._room = room

    def limit(self, ahead: int) -> int:
        """How many batches it may have now, at most `ahead` of them beforehand."""
        backend = self._backend
        if self.permit is not None:
            return 1
        return backend.concurrency + (min(backend.depth, ahead) if self.pace.is_short else 0)

    @property
    def holds(self) -> bool:
        """Whether it has requests that are not answered."""
        return bool(self._held)

    def begin(self, requests: Sequence[InferenceRequest]) -> bool:
        """Take a batch; False if nothing of it was left to execute."""
        begin_ns = monotonic_ns()
        for request in requests:
            if request.cancelled:
                break
        else:
            return self._begin(requests, begin_ns)
        waiting = []
        for request in requests:
            if not request.cancelled:  # looked at once: it may be cancelled at any moment
                waiting.append(request)
                continue
            self.fail(request, CancelledError("request was cancelled before it was executed"), executed=False)
            self._room.answered()
        return bool(waiting) and self._begin(waiting, begin_ns)

    def _begin(
        self,
        requests: Sequence[InferenceRequest],
        begin_ns: int,
        answered: Sequence[InferenceRequest] | None = None,
    ) -> bool:
        """`answered` are those that are to be answered, where that is not all of them."""
        if answered is None:
            answered = requests
        batch = _Batch(requests, begin_ns)
        for request in answered:
            request.move(EXECUTING)
            request.timeline.compute_start = begin_ns
            request.timeline.compute_output_start = 0  # of an execution before this one
            self._held[request] = None if self._responses is None else ResponseProgress(self._responses, begin_ns)
            request.on_cancel = self._backend.cancel
            if request.trace is not None:
                request.trace.executed(self.name, batch.size, len(answered))
        number = next(self._numbers)
        self._batches[number] = batch
        self._backend.begin(number, requests)
        if self._closed:  # meanwhile: nobody else answers these
            self.abandon(self._stopped())
            return True
        for request in requests:
            if request.cancelled:  # while it was on its way
                self._backend.cancel(request)
        return True

    @property
    def says_ready(self) -> bool:
        """Whether the model has a word of its own on whether it is ready."""
        return self._backend.says_ready

    def is_ready(self, timeout_s: float) -> bool:
        """That word; waits for it. False where it does not come in time."""
        return self._backend.is_ready(timeout_s)

    def flush(self) -> None:
        """No other batch follows at once."""
        self._backend.flush()

    def warm_up(self, samples: Sequence[WarmupSample]) -> None:
        """Execute the samples before anybody else can give it requests; see ModelInstance.warm_up."""
        for sample in samples:
            for _ in range(sample.count):
                requests, answers = sample.requests(self._model_name)
                for request in requests:
                    self._prepare(request)
                waiting = _Warming(len(requests))
                self._room = waiting
                self.begin(requests)
                self.flush()
                waiting.done.wait()
                if waiting.failure:
                    answers.errors.append(waiting.failure)
                if answers.errors:
                    raise warmup_failure(sample, answers.errors)
        self._room = _NoRoom()

    def _prepare(self, request: InferenceRequest) -> None:
        """Make a request of it that this instance can execute, though no scheduler has seen it."""

    # ---- what the backend says (backends/api.py, Answers)

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        progress = self._held.pop(request, self) if final else self._held.get(request, self)
        if progress is self:
            return  # it was answered: the instance went down meanwhile
        if isinstance(progress, ResponseProgress):
            now_ns = monotonic_ns()
            if self._statistics.times_first_responses and not progress.begun and error is None:
                self._statistics.record_first_response(request.timeline, now_ns)
            progress.record(now_ns, error=error)
        if error is None:
            surprise = self._check.surprise(outputs, request.output_names if final else None)
            if surprise:
                logger.warning("%s", surprise, extra=about(request.id, self._model_name, self._version))
        response = InferenceResponse(self._model_name, self._version, request.id, outputs, parameters, error)
        if final:
            self._end(request, error)
        request.sender.send(response, final)
        if final:
            self._room.answered()

    def finish(self, request: InferenceRequest) -> None:
        progress = self._held.pop(request, self)
        if progress is self:
            return
        if isinstance(progress, ResponseProgress):
            progress.record(monotonic_ns(), empty=True)
        self._end(request, None)
        request.sender.send(None, True)
        self._room.answered()

    def reschedule(self, request: InferenceRequest) -> None:
        if self._held.pop(request, self) is self:
            return
        request.on_cancel = None
        request.move(QUEUED)
        self._room.requeue(self, request)

    def released(self, batch: int, execution_ns: int) -> None:
        requests = self._executed(batch, execution_ns)
        if requests is not None:
            self._room.released(self, requests)

    def _executed(self, batch: int, execution_ns: int) -> Sequence[InferenceRequest] | None:
        """Count a batch whose execution has returned; its requests, None where the instance does not have it."""
        done = self._batches.pop(batch, None)
        if done is None:
            return None
        now_ns = monotonic_ns()
        start_ns = max(done.begin_ns, self._last_release_ns)  # it may have waited for the one before
        infer_ns = min(execution_ns, now_ns - start_ns)
        self._last_release_ns = now_ns
        self.pace.observe(execution_ns)
        for request in done.requests:
            stamps = request.timeline
            if stamps.compute_start != done.begin_ns:
                continue  # given back, and in its next execution already
            stamps.compute_start = start_ns
            stamps.compute_input_end = now_ns - infer_ns
            stamps.compute_output_start = now_ns
        self._statistics.record_execution(done.size, now_ns - infer_ns - start_ns, infer_ns)
        return done.requests

    def down(self, reason: str) -> None:
        batches = self._unreleased()
        self.abandon(InternalError(reason))
        self._room.down(self, reason, batches)

    def _unreleased(self) -> list[Sequence[InferenceRequest]]:
        """The requests of each batch of which the room has heard nothing, and never will."""
        batches = [batch.requests for batch in self._batches.values()]
        self._batches.clear()
        return batches

    def up(self) -> None:
        self._room.up(self)

    def settle(self) -> None:
        self._room.advance()

    # ---- the end of a request

    def _end(self, request: InferenceRequest, error: AtollError | None) -> None:
        request.on_cancel = None
        request.move(DONE)
        stamps = request.timeline
        end_ns = stamps.request_end = stamps.compute_end = monotonic_ns()
        if error is not None:
            self._statistics.record_failure(request, end_ns, failure_reason(error, True), error)
            return
        if not stamps.compute_output_start:  # it was answered while its batch was still being executed
            stamps.compute_input_end = stamps.compute_start
            stamps.compute_output_start = end_ns
        self._statistics.record_success(stamps, request.batch_size)

    def fail(self, request: InferenceRequest, error: AtollError, *, executed: bool) -> None:
        """End a request that the backend does not have (any more) with this error."""
        request.on_cancel = None
        request.move(DONE)
        request.timeline.request_end = monotonic_ns()
        self._statistics.record_failure(request, request.timeline.request_end, failure_reason(error, executed), error)
        request.sender.send(InferenceResponse(self._model_name, self._version, request.id, error=error), True)

    def abandon(self, error: AtollError) -> None:
        """Fail every request that the instance has."""
        for request in list(self._held):
            if self._held.pop(request, self) is not self:
                self.fail(request, error, executed=True)
                self._room.answered()

    def close(self, deadline_ns: int = 0) -> bool:
        """Free the backend's part; what it still has is failed. False when it could not be freed."""
        if self.permit is not None:
            self.permit.close()
        clean = self._backend.close(deadline_ns)
        self._closed = True
        self.abandon(self._stopped())
        return clean

    def _stopped(self) -> AtollError:
        return UnavailableError(f"model '{self._model_name}' was stopped before the request was answered")


class _NoRoom:
    """Before and after its time in a pool."""

    def released(self, instance: RequestModelInstance, requests: Sequence[InferenceRequest]) -> None:
        pass

    def answered(self) -> None:
        pass

    def requeue(self, instance: RequestModelInstance, request: InferenceRequest) -> None:
        instance.fail(request, UnavailableError("the request cannot be executed again now"), executed=True)

    def down(
        self, instance: RequestModelInstance, reason: str, batches: Sequence[Sequence[InferenceRequest]] = ()
    ) -> None:
        pass

    def up(self, instance: RequestModelInstance) -> None:
        pass

    def advance(self) -> None:
        pass


class _Warming(_NoRoom):
    """Waits until so many requests are answered."""

    def __init__(self, count: int):
        self._left = count
        self.done = Event()
        self.failure = ""

    def answered(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.done.set()

    def requeue(self, instance: RequestModelInstance, request: InferenceRequest) -> None:
        super().requeue(instance, request)
        self.answered()

    def down(
        self, instance: RequestModelInstance, reason: str, batches: Sequence[Sequence[InferenceRequest]] = ()
    ) -> None:
        self.failure = reason
        self.done.set()
