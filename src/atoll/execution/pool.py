"""The instances of one model version and the lock round its scheduler: who is free pulls the next batch.

Day of a pool: `start`, any number of `submit` and `change_instances`, `drain` (nothing new; what is queued still runs),
`stop`. An instance is either idle (listed), or held by exactly one driver: its own thread, or a submitter (driving.py
says when that may be).
"""

import logging
import threading
from collections.abc import Sequence
from functools import partial
from itertools import count
from operator import attrgetter
from time import monotonic_ns

from atoll.devices.host_policy import apply
from atoll.errors import AtollError
from atoll.execution.clock import Clock
from atoll.execution.driving import may_submitter_drive
from atoll.execution.in_flight import InFlight, not_accepted, not_executed
from atoll.execution.instance import ModelInstance
from atoll.execution.queue_exits import QueueExits
from atoll.execution.seats import Promise, Seat
from atoll.request import QUEUED, Defer, InferenceRequest, run_at_once
from atoll.scheduling.scheduler import NextBatch, Scheduler, WaitUntil
from atoll.trampoline import hold, let_go, soon

logger = logging.getLogger(__name__)

BROKEN_PROMISE_NS = 1_000_000_000  # an event loop that lives comes round far sooner


class InstancePool:
    """Thread-safe. `bounded`: see backends/api.py."""

    def __init__(
        self,
        model_name: str,
        scheduler: Scheduler,
        instances: Sequence[ModelInstance],
        clock: Clock,
        *,
        bounded: bool,
        submitter_may_drive: bool = True,
    ):
        self._model_name = model_name
        self._scheduler = scheduler
        self._traits = traits = scheduler.traits
        self._may_be_driven = may_submitter_drive(enabled=submitter_may_drive, bounded=bounded, waits=traits.waits)
        self._lock = threading.Lock()
        self._numbers = count()
        self._seats = [self._new_seat(instance) for instance in instances]
        self._heed_instances()
        self._idle: list[Seat] = []
        self._leaving: list[Seat] = []  # taken out of service, with a batch still to finish or a thread to end
        self._holding_out: Seat | None = None  # idle, but its thread wakes by itself at the end of a queue delay
        self._due: Promise | None = None  # what a submitter has promised to drive soon
        self._accepting = False
        self._patient = True  # batches wait for company
        self._stopping = False
        self._in_flight = InFlight(self._lock)  # queued or executing
        self._exits = QueueExits(scheduler, self._lock, self._in_flight, clock, self._fail, self._look_again)
        self.last_used_ns = monotonic_ns()  # when a request was last taken

    def _new_seat(self, instance: ModelInstance) -> Seat:
        seat = Seat(instance, next(self._numbers), self._lock)
        self._scheduler.seat_added(seat.number)
        return seat

    def _heed_instances(self) -> None:
        """What they are decides who may drive them."""
        self._limited = any(seat.instance.permit is not None for seat in self._seats)
        pinned = any(seat.instance.policy is not None for seat in self._seats)  # to cores: their threads are
        self._submitter_may_drive = self._may_be_driven and not self._limited and not pinned

    # ---- start

    def start(self) -> None:
        """Begin to accept requests; each instance's thread lives until `stop`."""
        with self._lock:
            self._accepting = True
            self._idle = list(self._seats)
        for seat in self._seats:
            self._start_thread(seat)

    def _start_thread(self, seat: Seat) -> None:
        seat.thread = threading.Thread(target=self._drive_seat, args=(seat,), name=seat.instance.name, daemon=True)
        seat.thread.start()

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Queue a validated request. Raises UnavailableError when the pool no longer accepts any."""
        defer = request.defer
        with self._lock:
            if not self._accepting:
                raise not_accepted(self._model_name)
            self.last_used_ns = now_ns = request.timeline.queue_start = monotonic_ns()
            self._scheduler.enqueue(request, now_ns)
            request.move(QUEUED)
            request.on_cancel = self._exits.on_cancel
            self._in_flight.count += 1
            if self._traits.expires:
                self._exits.watch()
            if self._due is not None:
                self._due.watch_for(request)
                if self._traits.by_seat:
                    self._wake_one()
                return  # who promised to drive finds it
            if not self._idle:
                return  # who is driving finds it
            seat = self._idle[-1] if not self._traits.by_seat else self._wanted_seat()
            if seat is None:
                return  # it is for one that is being driven
            if defer is None or not self._submitter_may_drive or not seat.instance.pace.is_short:
                self._wake_one()
                return
            self._idle.remove(seat)
            promise = self._due = Promise(seat, defer, now_ns)
            if self._traits.by_seat and self._scheduler.pending() > 1:
                self._wake_one()  # this very request may be for another
        defer(partial(self._drive_as_submitter, promise, defer))

    def _fail(self, request: InferenceRequest, error: AtollError) -> None:
        self._seats[0].instance.fail(request, error, executed=False)

    def _look_again(self) -> None:
        with self._lock:
            self._wake_one()

    def _next_batch(self, seat: Seat) -> NextBatch:
        permit = seat.instance.permit
        if permit is not None:
            if not self._scheduler.wants(seat.number):
                permit.give_back()
                return None
            if not permit.take(partial(self._granted, seat)):
                self._wake_one()  # another may need less
                return None
        batch = self._scheduler.next_batch(monotonic_ns(), seat.number)
        if isinstance(batch, WaitUntil) and not self._patient:
            batch = self._scheduler.next_batch(batch.ns, seat.number)  # no company can come any more
        self._exits.watch()
        if permit is not None and (batch is None or isinstance(batch, WaitUntil)):
            permit.give_back()
        return batch

    def _granted(self, seat: Seat) -> None:
        with self._lock:
            seat.wake.notify()

    def _ran(self, seat: Seat, batch: Sequence[InferenceRequest]) -> None:
        """The batch has been executed and answered. Under the lock."""
        if self._traits.follows:
            self._scheduler.finished(batch, seat.number)
            self._exits.watch()
            if self._traits.by_seat and self._scheduler.pending():
                self._wake_one()  # what has become possible may be for another
            batch = [request for request in batch if not request.filler]
        permit = seat.instance.permit
        if permit is not None:
            more = not (seat.leaving or self._stopping) and self._scheduler.wants(seat.number)
            permit.executed(partial(self._granted, seat) if more else None)
        self._in_flight.finished(len(batch))

    def pending(self) -> int:
        """How many requests wait in the scheduler."""
        with self._lock:
            return self._scheduler.pending()

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        with self._lock:
            return self._in_flight.count

    def sequences(self) -> int:
        """How many sequences have begun and may go on."""
        with self._lock:
            return self._scheduler.sequences()

    def instances(self) -> list[ModelInstance]:
        """Those that take batches."""
        with self._lock:
            return [seat.instance for seat in self._seats]

    def change_instances(self, added: Sequence[ModelInstance], removed: Sequence[ModelInstance]) -> bool:
        """Let further instances take batches, and these no more: each is closed when its batch is done.

        Returns False, and changes nothing, when the pool is stopping. At least one instance must remain.
        """
        with self._lock:
            if self._stopping or not self._accepting:
                return False
            seats = [self._new_seat(instance) for instance in added]
            leaving = [seat for seat in self._seats if seat.instance in removed]
            self._leaving = [seat for seat in self._leaving if seat.thread is not None and seat.thread.is_alive()]
            self._leaving += leaving
            self._seats = [seat for seat in self._seats if seat not in leaving] + seats
            self._heed_instances()
            for seat in leaving:
                seat.leaving = True
                self._scheduler.seat_removed(seat.number)
                if seat in self._idle:
                    self._idle.remove(seat)
                    self._let_go(seat)
            self._idle = seats + self._idle
            for seat in seats:
                self._start_thread(seat)
            self._exits.watch()  # requests may be refused for it
            if self._traits.by_seat:
                self._wake_one()  # what was for those that leave may be for others now
        return True

    def _wake_one(self) -> None:
        """Let an idle instance's thread look at the queue: the one that holds out for company, if there is one."""
        if self._limited:
            self._wake_permitted()
            return
        if self._traits.by_seat:
            for seat in self._idle:
                if self._scheduler.wants(seat.number):
                    seat.wake.notify()
            return
        one = self._holding_out or (self._idle[-1] if self._idle else None)
        if one is not None:
            one.wake.notify()

    def _wake_permitted(self) -> None:
        """Of those that have what they need, the one whose turn it is; the others are in line from now on."""
        for seat in sorted(self._idle, key=attrgetter("turn")):
            permit = seat.instance.permit
            if self._scheduler.wants(seat.number) and (permit is None or permit.take(partial(self._granted, seat))):
                seat.wake.notify()
                if not self._traits.by_seat:
                    return

    def _wanted_seat(self) -> Seat | None:
        """An idle one for which there is something."""
        return next((seat for seat in reversed(self._idle) if self._scheduler.wants(seat.number)), None)

    def _drive_as_submitter(self, promise: Promise, defer: Defer) -> None:
        """One batch on the submitter's thread; more, if more is queued, on a later turn of its loop."""
        seat = promise.seat
        with self._lock:
            if self._due is not promise:
                return  # it came so late that the seat was taken back
            self._due = None
            batch = self._next_batch(seat)
            if batch is None or isinstance(batch, WaitUntil):
                self._release(seat)
                return
        outermost = hold()
        try:
            try:
                seat.instance.run(batch, by_submitter=True)
            finally:  # an interrupt of the submitter's thread must not take the instance along
                self._step_back(seat, batch, defer)
        finally:
            let_go(outermost)

    def _step_back(self, seat: Seat, batch: Sequence[InferenceRequest], defer: Defer) -> None:
        """The submitter has driven: it comes round again, or the seat is free."""
        with self._lock:
            self._ran(seat, batch)
            head = self._scheduler.head()
            # Only who waits for an answer himself can be relied on to come round again; a thread that happens to be
            # here has work of its own.
            comes_round = defer is not run_at_once and defer is not soon
            stays = head is not None and head.defer == defer and seat.instance.pace.is_short and not seat.leaving
            if stays and comes_round:
                again = self._due = Promise(seat, defer, monotonic_ns())
            else:
                again = None
                self._release(seat)
        if again is not None:
            defer(partial(self._drive_as_submitter, again, defer))

    def _take_back(self, promise: Promise) -> None:
        """Let the seat's thread drive: the submitter's event loop may have died, or the pool is to stop."""
        self._due = None
        self._release(promise.seat)

    def _release(self, seat: Seat) -> None:
        if seat.leaving:
            self._let_go(seat)
            return
        self._idle.append(seat)
        if self._scheduler.pending() or self._stopping:
            seat.wake.notify()

    def _let_go(self, seat: Seat) -> None:
        """A leaving seat that nobody drives any more: its thread ends, and what is queued is for the others."""
        seat.gone = True
        seat.wake.notify_all()
        if self._holding_out is seat:
            self._holding_out = None
        if self._scheduler.pending():
            self._wake_one()

    def _drive_seat(self, seat: Seat) -> None:
        """The life of an instance's thread."""
        if seat.instance.policy is not None:
            try:
                apply(seat.instance.policy)
            except OSError as error:  # the machine's cores have changed since it was made
                logger.warning("instance '%s' cannot keep to its host policy: %s", seat.instance.name, error)
        while True:
            batch = self._take(seat)
            if batch is None:
                break
            seat.instance.run(batch, by_submitter=False)
            with self._lock:
                self._ran(seat, batch)
                if seat.leaving:
                    self._let_go(seat)
                else:
                    self._idle.append(seat)
            del batch  # its requests hold the client's buffers
        if seat.gone:
            _close(seat.instance)

    def _take(self, seat: Seat) -> Sequence[InferenceRequest] | None:
        """The next batch for an idle seat; None when the pool stops."""
        with self._lock:
            while not (seat.gone or (self._stopping and seat in self._idle)):
                due = self._due
                if due is not None and due.seat is seat and due.watched:
                    left_ns = due.since_ns + BROKEN_PROMISE_NS - monotonic_ns()
                    if left_ns > 0:
                        seat.wake.wait(left_ns / 1e9)
                    else:
                        self._take_back(due)
                    continue
                batch: NextBatch = None
                if seat in self._idle and (due is None or self._traits.by_seat):
                    batch = self._next_batch(seat)
                if batch is None:
                    seat.wake.wait()
                elif isinstance(batch, WaitUntil):
                    self._hold_out(seat, batch.ns)
                else:
                    self._idle.remove(seat)
                    if self._scheduler.pending():
                        self._wake_one()  # what is left may be enough for another instance
                    return batch
            return None

    def _hold_out(self, seat: Seat, until_ns: int) -> None:
        """Wait for company, as the only one: another idle instance could only wait for the same."""
        if self._traits.by_seat:
            seat.wake.wait(max(until_ns - monotonic_ns(), 0) / 1e9)
            return
        if self._holding_out not in (None, seat):
            seat.wake.wait()
            return
        self._holding_out = seat
        seat.wake.wait(max(until_ns - monotonic_ns(), 0) / 1e9)
        if self._holding_out is seat:
            self._holding_out = None

    # ---- stop

    def hurry(self) -> None:
        """Nothing waits for company any more; requests are accepted as before."""
        with self._lock:
            self._patient = False
            self._wake_one()

    def refuse(self) -> None:
        """Accept nothing new; what was accepted still runs, and waits for company no longer."""
        with self._lock:
            self._accepting = self._patient = False
            self._scheduler.no_more()
            self._wake_one()

    def drain(self, deadline_ns: int) -> bool:
        """Wait until all that was accepted is answered; False when the deadline came first."""
        return self._in_flight.drain(deadline_ns)

    def stop(self, deadline_ns: int) -> bool:
        """Answer what is still queued with an error, end the threads and close the instances.

        Returns False when an execution outlasted the deadline: its instance cannot be freed, and its thread, a
        daemon, is left behind.
        """
        with self._lock:
            self._accepting = False
            self._stopping = True
            withdrawn = self._scheduler.withdraw_all()
            if self._due is not None:
                self._take_back(self._due)
            for seat in self._seats:
                seat.wake.notify_all()
            executing = [seat for seat in self._seats if seat not in self._idle]
        self._exits.end(withdrawn, not_executed(self._model_name))
        clean = True
        for seat in self._seats:
            if seat.thread is not None:
                # An idle one ends by itself at once: only an execution can outlast the deadline.
                seat.thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9 if seat in executing else None)
                if seat.thread.is_alive():
                    clean = False
                    continue
            _close(seat.instance)
        for seat in self._leaving:  # their threads close them
            if seat.thread is not None:
                seat.thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9)
                clean = clean and not seat.thread.is_alive()
        return clean


def _close(instance: ModelInstance) -> None:
    """One that fails at it must not keep the others from being closed."""
    try:
        instance.close()
    except Exception:
        logger.exception("instance '%s' could not be closed in whole", instance.name)
