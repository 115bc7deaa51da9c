"""A model instance: one backend execution context, and how a batch is run on it from join to answers."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic_ns

from atoll.backends.api import Instance
from atoll.devices.host_policy import HostPolicy
from atoll.errors import AtollError, CancelledError, InternalError, InvalidArgumentError
from atoll.execution.batching.batch import BatchPlan, HostMemory, join, needed_outputs, split
from atoll.execution.driving import Pace
from atoll.execution.permit import Permit
from atoll.execution.sequences.tensors import SequenceTensors
from atoll.execution.warmup import WarmupSample, warmup_failure
from atoll.observability.logging.extras import about_all
from atoll.observability.statistics.failure_reasons import failure_reason
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import DONE, EXECUTING, InferenceRequest, InferenceResponse
from atoll.trampoline import hold, let_go

logger = logging.getLogger(__name__)


class ModelInstance:
    """Runs batches, one at a time: whoever drives it holds it (see pool.py). Every request that it is given gets its
    final answer.
    """

    def __init__(
        self,
        name: str,
        backend: Instance,
        plan: BatchPlan,
        version: str,
        statistics: StatisticsRecorder,
        memory: HostMemory | None = None,
        sequences: SequenceTensors | None = None,
    ):
        self.name = name
        self.pace = Pace()
        self._backend = backend
        self._plan = plan if sequences is None else replace(plan, makers=(*plan.makers, sequences))
        self._sequences = sequences  # None: its requests are no parts of sequences
        self._version = version
        self._statistics = statistics
        self._memory = memory  # where batches are put together; None: memory of their own
        self.permit: Permit | None = None  # that it needs for each batch, if any
        self.policy: HostPolicy | None = None  # of the thread that drives it

    def warm_up(self, samples: Sequence[WarmupSample]) -> None:
        """Execute the samples, before anybody else can drive this instance. They count as requests, as in Triton.

        Raises ConfigError naming the first sample that fails, with what its requests were answered.
        """
        for sample in samples:
            for _ in range(sample.count):
                requests, answers = sample.requests(self._plan.model_name)
                if self._sequences is not None:
                    for request in requests:
                        self._sequences.prepare(request)
                self.run(requests, by_submitter=False)
                if answers.errors:
                    raise warmup_failure(sample, answers.errors)

    def run(self, requests: Sequence[InferenceRequest], by_submitter: bool) -> None:
        """Execute the batch and answer each request. What fails becomes the requests' error; nothing is raised but
        what interrupts a submitter's thread, such as KeyboardInterrupt, and all are answered then too.
        """
        if self._sequences is not None:
            self._run_sequences(self._sequences, requests, by_submitter)
            return
        waiting = [request for request in requests if not request.cancelled]
        if len(waiting) < len(requests):
            kept = set(waiting)  # looked at once: a request may be cancelled at any moment
            for request in requests:
                if request not in kept:
                    self.fail(request, CancelledError("request was cancelled before it was executed"), executed=False)
            if not waiting:
                return
        start_ns = monotonic_ns()
        for request in waiting:
            request.move(EXECUTING)
        self._run_together(waiting, start_ns, by_submitter)

    def _run_sequences(
        self, sequences: SequenceTensors, requests: Sequence[InferenceRequest], by_submitter: bool
    ) -> None:
        """The same with requests that are parts of sequences: one that is cancelled now is executed all the same, as
        its place in the batch and in its sequence mean something to the model.
        """
        start_ns = monotonic_ns()
        for request in requests:
            if not request.filler:
                request.move(EXECUTING)
        for batch in sequences.runs(requests):
            self._run_together(batch, start_ns, by_submitter)

    def _run_together(self, waiting: Sequence[InferenceRequest], start_ns: int, by_submitter: bool) -> None:
        try:
            self._execute(waiting, start_ns, by_submitter)
        except InvalidArgumentError as error:
            several = [request for request in waiting if not request.filler]
            if len(several) < 2:
                self._fail_all(waiting, error, start_ns)
                return
            for request in several:  # what one of them did wrong must not hit its neighbours
                alone = (request,) if self._sequences is None else self._sequences.alone(request, waiting)
                self._run_together(alone, start_ns, by_submitter)
        except AtollError as error:
            self._fail_all(waiting, error, start_ns)
        except Exception as error:
            logger.exception("instance '%s' failed to execute a batch", self.name, extra=self._about(waiting))
            self._fail_all(waiting, InternalError(f"{type(error).__name__}: {error}"), start_ns)
        except BaseException as error:  # an interrupt of the thread that drives; or sys.exit(), in a model's own code
            self._fail_all(waiting, InternalError(f"{type(error).__name__}: {error}"), start_ns)
            if by_submitter:
                raise
            text = "instance '%s' executes code that would end its thread"
            logger.exception(text, self.name, extra=self._about(waiting))

    def _execute(self, requests: Sequence[InferenceRequest], start_ns: int, by_submitter: bool) -> None:
        plan = self._plan
        inputs = join(requests, plan, self._memory)
        size = sum([request.batch_size for request in requests])
        joined_ns = monotonic_ns()
        sequences = self._sequences
        needed = needed_outputs(requests, plan) if sequences is None else sequences.needed(requests)
        outputs = self._backend.execute(inputs, needed)
        executed_ns = monotonic_ns()
        self.pace.observe(executed_ns - joined_ns)
        fillers = 0
        if sequences is None:
            shares = split(outputs, requests, plan, size)
        else:
            requests, shares = sequences.split(outputs, inputs, requests, size)
            fillers = size - len(requests)
            if not requests:
                return
        end_ns = monotonic_ns()
        for request in requests:
            stamps = request.timeline
            stamps.compute_start = start_ns
            stamps.compute_input_end = joined_ns
            stamps.compute_output_start = executed_ns
            stamps.compute_end = stamps.request_end = end_ns
            if request.trace is not None:
                request.trace.executed(self.name, size, len(requests))
        # Before the answers go out: who has an answer finds its request counted.
        self._statistics.record_batch(requests, requests[0].timeline, size, by_submitter, fillers)
        # Not before: what is executed may be a model's own code, which waits for what it causes on this thread.
        outermost = hold()
        try:
            for request, tensors in zip(requests, shares, strict=True):
                request.move(DONE)
                response = InferenceResponse(plan.model_name, self._version, request.id, tensors)
                request.sender.send(response, True)
            # The next steps get what was sent, and nothing need stay for them here.
            del inputs, outputs, shares, tensors, response
        finally:
            let_go(outermost)

    def _fail_all(self, requests: Sequence[InferenceRequest], error: AtollError, start_ns: int) -> None:
        size = sum([one.batch_size for one in requests])
        outermost = hold()
        try:
            for request in requests:
                if request.state is not DONE and not request.filler:
                    if request.trace is not None:
                        request.timeline.compute_start = start_ns
                        request.timeline.compute_end = monotonic_ns()
                        request.trace.executed(self.name, size, len(requests))
                    self.fail(request, error, executed=True)
        finally:
            let_go(outermost)

    def fail(self, request: InferenceRequest, error: AtollError, *, executed: bool) -> None:
        """End the request with this error."""
        error.__traceback__ = None  # its frames hold the requests of the whole batch, which may hold the error
        request.move(DONE)
        request.timeline.request_end = monotonic_ns()
        self._statistics.record_failure(request, request.timeline.request_end, failure_reason(error, executed), error)
        request.sender.send(InferenceResponse(self._plan.model_name, self._version, request.id, error=error), True)

    def _about(self, requests: Sequence[InferenceRequest]) -> dict[str, str]:
        ids = (request.id for request in requests if not request.filler)
        return about_all(ids, self._plan.model_name, self._version)

    def close(self) -> None:
        """Free the backend's part. No `run` runs or follows."""
        if self.permit is not None:
            self.permit.close()
        self._backend.close()
