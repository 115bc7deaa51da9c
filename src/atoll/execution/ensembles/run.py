"""One request of an ensemble while its steps run.

What happens to it (an answer of a step, the client's cancellation, the end of the server) comes from many threads, and
is put into its mailbox; one thread at a time empties that, so that nothing here waits for a lock, and none is held
while steps are submitted. Steps are submitted by the thread that has the answer which they were waiting for; by way of
its trampoline (trampoline.py), so that a chain of any length costs no stack, and the answers of one batch become the
requests of one batch.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from copy import copy
from time import monotonic_ns
from typing import TYPE_CHECKING

from atoll.errors import AtollError, CancelledError, InternalError
from atoll.execution.ensembles.step_times import StepTimes
from atoll.observability.logging.extras import about
from atoll.request import DONE, Defer, InferenceRequest, InferenceResponse, Parameter, run_at_once
from atoll.scheduling.ensembles.graph import GraphStep
from atoll.scheduling.ensembles.progress import (
    SEQUENCE_PARAMETERS,
    EnsembleProgress,
    Launch,
    answered_again,
    dead_end,
)
from atoll.tensor import Tensor
from atoll.trampoline import hold, let_go, soon

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.execution.ensembles.pool import EnsemblePool

logger = logging.getLogger(__name__)


class _StepSender:
    """Where the answers of a step's request go."""

    __slots__ = ("answered", "number", "run", "step")

    def __init__(self, run: EnsembleRun, step: GraphStep, number: int):
        self.run = run
        self.step = step
        self.number = number  # under which it was launched
        self.answered = False

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        run = self.run
        run.mailbox.append((self, response, final))
        soon(run.go_on)


class EnsembleRun:
    """Every request that `begin` takes gets exactly one final answer, whatever its steps do."""

    __slots__ = (
        "_ended",
        "_failure",
        "_held",
        "_pool",
        "_progress",
        "_receiving",
        "_request",
        "_running",
        "_times",
        "_unsent",
        "mailbox",
    )

    def __init__(self, pool: EnsemblePool, request: InferenceRequest):
        self._pool = pool
        self._request = request
        self._progress: EnsembleProgress | None = None  # None before, and when nothing may follow any more
        self._running: dict[_StepSender, InferenceRequest] = {}  # steps that have not given their final answer
        self._held: dict[int, deque[Launch]] = {}  # of steps that are running as often as they may
        self._times = StepTimes()
        self._failure: AtollError | None = None
        self._unsent: InferenceResponse | None = None  # the latest one: it may turn out to be the last
        self._ended = False
        self.mailbox: deque[tuple[_StepSender | AtollError | None, InferenceResponse | None, bool]] = deque()
        self._receiving = threading.Lock()  # never waited for: who has it looks into the mailbox again
        self._receiving.acquire()  # for `begin`: what comes before that waits in the mailbox

    # ---- what comes from others

    def begin(self) -> None:
        """Submit the first steps. Called once."""
        outermost = hold()  # all of the first steps are submitted before this thread runs any of them
        try:
            try:
                self._begin()
            finally:
                self._receiving.release()
            self.go_on()  # what has come meanwhile
        finally:
            let_go(outermost)

    def _cancelled(self, request: InferenceRequest) -> None:
        self.fail(CancelledError("request was cancelled before it was answered"))

    def fail(self, error: AtollError) -> None:
        """End the request with this error, as soon as no step runs any more: they are cancelled."""
        self.mailbox.append((error, None, False))
        soon(self.go_on)

    def abandon(self) -> None:
        """End it now: what its steps still answer is for nobody."""
        self.mailbox.append((None, None, True))
        soon(self.go_on)

    def go_on(self) -> None:
        """Do what the mailbox says."""
        while self.mailbox and self._receiving.acquire(blocking=False):
            try:
                while self.mailbox:
                    self._receive(*self.mailbox.popleft())
            finally:
                self._receiving.release()

    # ---- one thread at a time, from here on

    def _begin(self) -> None:
        request, graph = self._request, self._pool.graph
        request.on_cancel = self._cancelled
        if request.cancelled:
            self._give_up(CancelledError("request was cancelled before it was executed"))
        else:
            try:
                self._progress = EnsembleProgress(graph, graph.plan(request.output_names), request.parameters)
                defer = soon if request.defer is run_at_once else request.defer
                self._submit(self._progress.begin(request.inputs), defer)
            except Exception as error:
                self._give_up(self._explained(error))
        self._settle()

    def _receive(
        self, origin: _StepSender | AtollError | None, response: InferenceResponse | None, final: bool
    ) -> None:
        if self._ended:
            return
        if isinstance(origin, _StepSender):
            try:
                self._hear(origin, response, final)
            except Exception as error:
                self._give_up(self._explained(error))
        elif origin is None:
            self._running.clear()
        else:
            self._give_up(origin)
        self._settle()

    def _hear(self, sender: _StepSender, response: InferenceResponse | None, final: bool) -> None:
        """A step's answer."""
        step = sender.step
        if final:
            request = self._running.pop(sender, None)
            if request is None:
                return
            request.parent = None
            self._times.add(request.timeline)
            if self._held:
                self._submit_held(step)
        if self._progress is None:
            return
        if response is None:
            if not sender.answered and not step.decoupled:
                raise dead_end(self._request.id)
            return
        if response.error is not None:
            self._give_up(self._explained(response.error))  # not raised: a traceback would hold what the error is in
            return
        if sender.answered and not step.decoupled:
            raise answered_again(step)
        sender.answered = True
        sequence = _sequence(response.parameters) if response.parameters else None
        self._submit(self._progress.arrived(step, sender.number, response.outputs, sequence), soon)
        if self._pool.graph.decoupled:
            self._respond()

    def _explained(self, error: Exception) -> AtollError:
        """A step's error as the ensemble's: of the same kind, with the real server's words before it."""
        if not isinstance(error, AtollError):
            ids = about(self._request.id, self._pool.name, self._pool.version)
            logger.exception("ensemble '%s' failed to run a request", self._pool.name, extra=ids)
            error = InternalError(f"{type(error).__name__}: {error}")
        explained = copy(error)
        explained.args = (f"in ensemble '{self._pool.name}', {error}", *error.args[1:])
        return explained

    def _give_up(self, error: AtollError) -> None:
        """Nothing follows any more; what is running is cancelled."""
        if self._failure is not None or self._ended:
            return
        self._failure = error
        self._progress = None
        self._held.clear()
        for request in list(self._running.values()):
            request.cancel()

    # ---- its steps

    def _submit(self, launches: Sequence[Launch], defer: Defer | None) -> None:
        most = self._pool.graph.most_in_flight
        for launch in launches:
            if self._progress is None:
                return
            if most and self._is_full(launch.step, most):
                self._held.setdefault(launch.step.number, deque()).append(launch)
                continue
            sender = _StepSender(self, launch.step, launch.number)
            request = self._step_request(launch, sender, defer)
            self._running[sender] = request
            try:
                self._pool.submit_step(request)
            except Exception as error:
                self._running.pop(sender, None)
                if request.trace is not None:
                    request.trace.refused(error)
                raise

    def _is_full(self, step: GraphStep, most: int) -> bool:
        return step.number in self._held or sum(one.step is step for one in self._running) >= most

    def _submit_held(self, step: GraphStep) -> None:
        """One of them: one that was running has ended."""
        held = self._held.get(step.number)
        if held is None:
            return
        launch = held.popleft()
        del self._held[step.number]  # so that this one is not held again
        self._submit((launch,), soon)
        if held and self._progress is not None:
            self._held[step.number] = held

    def _step_request(self, launch: Launch, sender: _StepSender, defer: Defer | None) -> InferenceRequest:
        whole, step = self._request, launch.step
        parameters = whole.parameters
        if launch.sequence is not None:
            parameters = {**(parameters or {}), **launch.sequence}
        request = InferenceRequest(
            step.model_name,
            launch.inputs,
            sender,
            model_version=step.model_version,
            id=whole.id,
            output_names=step.output_names,
            parameters=parameters,
            priority=whole.priority,
            timeout_us=whole.timeout_us,
            defer=defer,
        )
        request.deadline_ns = whole.deadline_ns
        request.parent = whole
        if whole.trace is not None:
            whole.trace.join(request)
        return request

    # ---- its answers

    def _response(self, outputs: list[Tensor], sequence: Mapping[str, Parameter] | None) -> InferenceResponse:
        pool, request = self._pool, self._request
        parameters: dict[str, Parameter] = {}
        if outputs:  # as the real server says it, for an ensemble only
            said = {**(request.parameters or {}), **(sequence or {})}
            parameters = {name: said.get(name, nothing) for name, nothing in SEQUENCE_PARAMETERS.items()}
        return InferenceResponse(pool.name, pool.version, request.id, outputs, parameters)

    def _respond(self) -> None:
        """Give the client what is whole, but for the last: that may be the final one."""
        while self._progress is not None and (made := self._progress.outputs()) is not None:
            if self._unsent is not None:
                self._request.sender.send(self._unsent, False)
            self._unsent = self._response(*made)

    def _settle(self) -> None:
        """After each thing that happened: end the request if nothing is running, else send what is there."""
        if self._ended:
            return
        if self._running:
            if self._unsent is not None:
                unsent, self._unsent = self._unsent, None
                self._request.sender.send(unsent, False)
            return
        if self._progress is not None and not self._pool.graph.decoupled:
            try:
                made = self._progress.outputs()
                if made is None:
                    raise dead_end(self._request.id)
                self._unsent = self._response(*made)
            except Exception as error:
                self._give_up(self._explained(error))
        self._end()

    def _end(self) -> None:
        pool, request, failure = self._pool, self._request, self._failure
        self._ended = True
        self._progress = None
        response, self._unsent = self._unsent, None
        request.on_cancel = None
        request.move(DONE)
        self._times.stamp(request.timeline, monotonic_ns())
        if failure is None:
            self._times.record(pool.statistics, request)
        else:
            if response is not None:
                request.sender.send(response, False)
            response = InferenceResponse(pool.name, pool.version, request.id, error=failure)
            reason = "CANCELED" if isinstance(failure, CancelledError) else "OTHER"  # the real server's, for ensembles
            pool.statistics.record_failure(request, request.timeline.request_end, reason, failure)
        request.sender.send(response, True)
        pool.ended(self)


def _sequence(parameters: Mapping[str, Parameter]) -> dict[str, Parameter] | None:
    """What a step's answer says of the sequence, for the steps that take what it has made."""
    return {name: parameters[name] for name in SEQUENCE_PARAMETERS if name in parameters} or None
