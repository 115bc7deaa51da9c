"""An end to executions that take too long: who executes is killed, and what it was doing is said."""

import threading
from collections.abc import Callable
from time import monotonic_ns

from atoll.backends.api import Answers
from atoll.errors import AtollError
from atoll.isolation.link import Link
from atoll.isolation.slowness import kill_for_slowness
from atoll.isolation.supervisor import Supervisor, Timer
from atoll.request import InferenceRequest, Parameter
from atoll.tensor import Tensor


class ExecutionLimit:
    """The Answers of an instance, with a clock for each batch. `link()` is who executes now. `one_by_one`: a batch is
    executed when the one before is done.
    """

    def __init__(
        self,
        answers: Answers,
        supervisor: Supervisor,
        seconds: float,
        link: Callable[[], Link | None],
        *,
        one_by_one: bool = True,
    ):
        self._one_by_one = one_by_one
        self._last_end_ns = 0
        self._answers = answers
        self._supervisor = supervisor
        self._seconds = seconds
        self._link = link
        self._running: set[int] = set()  # batches
        self._timers: dict[int, Timer] = {}

    def begin(self, batch: int) -> None:
        """The batch is being executed from now on."""
        begun_ns = monotonic_ns()
        self._running.add(batch)
        self._timers[batch] = self._supervisor.later(self._seconds, lambda: self._too_long(batch, begun_ns))

    def _too_long(self, batch: int, begun_ns: int) -> None:
        link = self._link()
        if self._timers.pop(batch, None) is None or batch not in self._running or link is None:
            return
        if self._one_by_one and self._last_end_ns > begun_ns:  # it has waited for the one before
            begun_ns = self._last_end_ns
            left_s = self._seconds - (monotonic_ns() - begun_ns) / 1e9
            if left_s > 0:
                self._timers[batch] = self._supervisor.later(left_s, lambda: self._too_long(batch, begun_ns))
                return
        threading.Thread(target=self._end, args=(link, batch), name="execution limit", daemon=True).start()

    def _end(self, link: Link, batch: int) -> None:
        because = f"an execution took longer than {self._seconds:g} s"
        kill_for_slowness(self._supervisor, link.child, because, lambda: batch in self._running)

    # ---- as Answers

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        self._answers.respond(request, outputs, parameters=parameters, error=error, final=final)

    def finish(self, request: InferenceRequest) -> None:
        self._answers.finish(request)

    def reschedule(self, request: InferenceRequest) -> None:
        self._answers.reschedule(request)

    def released(self, batch: int, execution_ns: int) -> None:
        self._last_end_ns = monotonic_ns()
        self._running.discard(batch)
        timer = self._timers.pop(batch, None)
        if timer is not None:
            timer.cancel()
        self._answers.released(batch, execution_ns)

    def down(self, reason: str) -> None:
        self._running.clear()
        for timer in list(self._timers.values()):
            timer.cancel()
        self._timers.clear()
        self._answers.down(reason)

    def up(self) -> None:
        self._answers.up()

    def settle(self) -> None:
        self._answers.settle()
