"""How requests leave a pool's queue without having been executed: cancelled, too late, or because the pool ends."""

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic_ns

from atoll.errors import AtollError, CancelledError
from atoll.execution.clock import Alarm, Clock
from atoll.execution.in_flight import InFlight
from atoll.request import QUEUED, InferenceRequest
from atoll.scheduling.scheduler import Refusal, Scheduler


class QueueExits:
    """Of one pool, whose lock it shares. `fail` answers a request with an error; `go_on` lets the pool look at its
    queue, where what is left may have become possible. Both are called without the lock.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        lock: threading.Lock,
        in_flight: InFlight,
        clock: Clock,
        fail: Callable[[InferenceRequest, AtollError], None],
        go_on: Callable[[], None],
    ):
        self._scheduler = scheduler
        self._by_seat = scheduler.traits.by_seat
        self._expires = scheduler.traits.expires
        self._lock = lock
        self._in_flight = in_flight
        self._fail = fail
        self._go_on = go_on
        self._alarm = Alarm(clock, self._expire)
        self.on_cancel = self._withdraw  # made once: every queued request gets it

    def watch(self) -> None:
        """The queue has changed: see when the next request will be too late. Under the lock."""
        if self._expires:
            due_ns = self._scheduler.next_expiry_ns()
            if due_ns:
                self._alarm.set(due_ns)

    def _withdraw(self, request: InferenceRequest) -> None:
        """It was cancelled: answer it at once, if it still waits. One that is being executed is not disturbed."""
        with self._lock:
            if request.state is not QUEUED or not self._scheduler.withdraw(request):
                return
            self.watch()  # others may be refused for it
        self._refuse([Refusal(request, CancelledError("request was cancelled before it was executed"))])
        if self._by_seat:
            self._go_on()  # with what it held up

    def _expire(self) -> None:
        with self._lock:
            refused = self._scheduler.expire(monotonic_ns())
            self.watch()
        self._refuse(refused)
        self._go_on()

    def end(self, withdrawn: Iterable[InferenceRequest], error: AtollError) -> None:
        """Nothing is queued any more: these were the last."""
        self._alarm.close()
        self._refuse([Refusal(request, error) for request in withdrawn])

    def _refuse(self, refused: Sequence[Refusal]) -> None:
        if not refused:
            return
        for request, error in refused:
            self._fail(request, error)
        with self._lock:
            self._in_flight.finished(len(refused))
