"""A moment by which a request is answered, whether it waits or runs: its own, or its model's.

Beyond Triton, whose timeouts concern the queue alone. The request's sender is put behind one that answers in time: what
comes later finds that it has been answered. The request itself is cancelled: it leaves the queue at once, and a model
that looks whether its request is cancelled sees it.
"""

import threading
from time import monotonic_ns

from atoll.errors import DeadlineExceededError
from atoll.execution.clock import Clock
from atoll.request import InferenceRequest, InferenceResponse, ResponseSender
from atoll.timers import Timer
from atoll.trampoline import hold, let_go


class Deadlines:
    """Of one model version. `limit_ns`: how long its requests may take in all, 0: as long as they like."""

    def __init__(self, clock: Clock, model_name: str, version: str, limit_ns: int = 0):
        self._clock = clock
        self.model_name = model_name
        self.version = version
        self.limit_ns = limit_ns

    def watch(self, request: InferenceRequest) -> "WatchedSender | None":
        """Answer the request in time; None where nothing limits it. `unwatch` must follow if it is refused after all.

        Raises DeadlineExceededError where it is too late already.
        """
        due_ns = request.deadline_ns
        if self.limit_ns:
            own_ns = request.timeline.request_start + self.limit_ns
            due_ns = min(due_ns, own_ns) if due_ns else own_ns
        if not due_ns:
            return None
        if due_ns <= monotonic_ns():
            raise self.exceeded(request)
        request.deadline_ns = due_ns
        watched = WatchedSender(self, request, request.sender)
        request.sender = watched
        watched.timer = self._clock.at(due_ns, watched.exceed)
        return watched

    def exceeded(self, request: InferenceRequest) -> DeadlineExceededError:
        """What the request is answered with."""
        allowed_ms = max(request.deadline_ns - request.timeline.request_start, 0) / 1e6
        return DeadlineExceededError(
            f"[request id: {request.id or '<id_unknown>'}] model '{self.model_name}' did not answer within the "
            f"{round(allowed_ms, 2):g} ms that the request had"
        )


class WatchedSender:
    """The ResponseSender of a request with a deadline: passes on what comes before it, and nothing after it."""

    __slots__ = ("_deadlines", "_lock", "_over", "_request", "_sender", "timer")

    def __init__(self, deadlines: Deadlines, request: InferenceRequest, sender: ResponseSender):
        self._deadlines = deadlines
        self._lock = threading.RLock()  # what hears an answer may cancel its request
        self._request: InferenceRequest | None = request
        self._sender = sender
        self._over = False
        self.timer: Timer | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        if not final:
            outermost = hold()  # what it causes is done when the clock need not wait for the lock any more
            try:
                with self._lock:
                    if not self._over:
                        self._sender.send(response, False)  # under the lock: nothing may follow the final one
            finally:
                let_go(outermost)
            return
        with self._lock:
            if self._over:
                return
            self._over = True
        self._let_go()
        self._sender.send(response, True)

    def exceed(self) -> None:
        """The moment has come."""
        with self._lock:
            request = self._request
            if self._over or request is None:
                return
            self._over = True
        self._let_go()
        error = self._deadlines.exceeded(request)
        response = InferenceResponse(self._deadlines.model_name, self._deadlines.version, request.id, error=error)
        self._sender.send(response, True)
        request.cancel()

    def unwatch(self) -> bool:
        """The request was refused: it is its maker's again. False where its moment came first, and it is answered."""
        with self._lock:
            request = self._request
            if self._over or request is None:
                return False
            self._over = True
        request.sender = self._sender
        self._let_go()
        return True

    def _let_go(self) -> None:
        """Of the request, which holds this."""
        self._request = None
        if self.timer is not None:
            self.timer.cancel()
