"""One request of an ensemble while its steps run.

What happens to it (an answer of a step, the client's cancellation, the end of the server) comes from many threads, and
is put into its mailbox; one thread at a time empties that, so that nothing here needs a lock and no lock is held while
steps are submitted. Steps are submitted by the thread that has the answer which they were waiting for; by way of its
trampoline (trampoline.py), so that a chain of any length costs no stack, and the answers of one batch become the
requests of one batch.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from time import monotonic_ns
from typing import TYPE_CHECKING

from atoll.errors import AtollError, CancelledError
from atoll.request import DONE, Defer, InferenceRequest, InferenceResponse, run_at_once
from atoll.scheduling.ensemble_graph import GraphStep
from atoll.scheduling.ensemble_progress import EnsembleProgress, Launch
from atoll.trampoline import hold, let_go, soon

if TYPE_CHECKING:
    from atoll.execution.ensemble.pool import EnsemblePool

logger = logging.getLogger(__name__)


class _StepSender:
    """Where the answers of a step's request go."""

    __slots__ = ("request", "run", "step")

    def __init__(self, run: EnsembleRun, step: GraphStep):
        self.run = run
        self.step = step
        self.request: InferenceRequest | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        run = self.run
        run.mailbox.append((self, response, final))
        soon(run.go_on)


class EnsembleRun:
    """Every request that `begin` takes gets exactly one final answer, whatever its steps do."""

    __slots__ = (
        "_emptying",
        "_ended",
        "_failure",
        "_number",
        "_pool",
        "_progress",
        "_request",
        "_running",
        "mailbox",
    )

    def __init__(self, pool: EnsemblePool, request: InferenceRequest):
        self._pool = pool
        self._request = request
        self._progress = EnsembleProgress(pool.graph, pool.graph.plan(request.output_names))
        self._running: dict[_StepSender, InferenceRequest] = {}  # steps that have not given their final answer
        self._failure: AtollError | None = None
        self._ended = False
        self._number = 0  # of the next response
        self.mailbox: deque[tuple[_StepSender | AtollError | None, InferenceResponse | None, bool]] = deque()
        self._emptying = threading.Lock()  # never waited for: who has it looks into the mailbox again

    # ---- what comes from others

    def begin(self) -> None:
        """Submit the first steps."""
        self._request.on_cancel = self._cancelled
        self._emptying.acquire()
        outermost = hold()
        defer = self._request.defer
        self._submit(self._progress.begin(self._request.inputs), soon if defer is run_at_once else defer)
        self._end_if_idle()
        self._emptying.release()
        let_go(outermost)
        self.go_on()  # what came meanwhile

    def _cancelled(self, request: InferenceRequest) -> None:
        self.fail(CancelledError("request was cancelled before it was answered"))

    def fail(self, error: AtollError) -> None:
        """End the request with this error, as soon as no step runs any more."""
        self.mailbox.append((error, None, False))
        soon(self.go_on)

    def abandon(self) -> None:
        """End it now: what its steps still answer is for nobody."""
        self.mailbox.append((None, None, True))
        soon(self.go_on)

    def go_on(self) -> None:
        """Do what the mailbox says."""
        while self.mailbox and self._emptying.acquire(blocking=False):
            try:
                while self.mailbox:
                    self._receive(*self.mailbox.popleft())
            finally:
                self._emptying.release()

    # ---- one thread at a time

    def _receive(self, origin: _StepSender | AtollError | None, response: InferenceResponse | None, last: bool) -> None:
        if self._ended:
            return
        if isinstance(origin, AtollError):
            self._give_up(origin)
        elif origin is None:
            self._running.clear()
        else:
            self._hear(origin, response, last)
        self._end_if_idle()

    def _hear(self, sender: _StepSender, response: InferenceResponse | None, last: bool) -> None:
        if last:
            request = self._running.pop(sender, None)
            if request is None:
                return
            request.parent = None
        if response is None or self._failure is not None:
            return
        if response.error is not None:
            self._give_up(self._of_step(response.error))
            return
        self._submit(self._progress.arrived(sender.step, response.outputs), soon)
        if self._pool.graph.decoupled:
            self._respond()

    def _of_step(self, error: AtollError) -> AtollError:
        """A step's error as the ensemble's."""
        return type(error)(f"in ensemble '{self._pool.name}', {error}")

    def _give_up(self, error: AtollError) -> None:
        if self._failure is None:
            self._failure = error
            for request in list(self._running.values()):
                request.cancel()

    def _submit(self, launches: Iterable[Launch], defer: Defer | None) -> None:
        for launch in launches:
            if self._failure is not None:
                return
            sender = _StepSender(self, launch.step)
            request = self._step_request(launch, sender, defer)
            self._running[sender] = request
            try:
                self._pool.submit_step(request)
            except AtollError as error:
                del self._running[sender]
                self._give_up(self._of_step(error))

    def _step_request(self, launch: Launch, sender: _StepSender, defer: Defer | None) -> InferenceRequest:
        whole, step = self._request, launch.step
        request = InferenceRequest(
            step.model_name,
            launch.inputs,
            sender,
            model_version=step.model_version,
            id=whole.id,
            output_names=step.output_names,
            parameters=whole.parameters if launch.sequence is None else {**(whole.parameters or {}), **launch.sequence},
            priority=whole.priority,
            timeout_us=whole.timeout_us,
            defer=defer,
        )
        request.deadline_ns = whole.deadline_ns
        request.parent = whole
        return request

    # ---- the end

    def _respond(self) -> None:
        """Give the client what is whole."""
        while (outputs := self._progress.outputs(self._number)) is not None:
            self._number += 1
            pool, request = self._pool, self._request
            request.sender.send(InferenceResponse(pool.name, pool.version, request.id, outputs), False)

    def _end_if_idle(self) -> None:
        if self._running or self._ended:
            return
        pool, request = self._pool, self._request
        response: InferenceResponse | None = None
        if self._failure is None and not pool.graph.decoupled:
            outputs = self._progress.outputs()
            if outputs is None:
                self._failure = self._progress.lacking()
            else:
                response = InferenceResponse(pool.name, pool.version, request.id, outputs)
        self._ended = True
        request.on_cancel = None
        request.move(DONE)
        request.timeline.request_end = monotonic_ns()
        if self._failure is not None:
            response = InferenceResponse(pool.name, pool.version, request.id, error=self._failure)
        request.sender.send(response, True)
        pool.ended(self)
