"""The pool of instances that take requests as they are (request_instance.py), and the lock round their scheduler.

The counterpart of pool.py for instances that do not block: no thread drives them. Whoever changes something (a request
comes, a batch is done, a queue delay ends) gives out what can be given out, on its own thread; the answers come back on
the instances' threads.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from itertools import count
from time import monotonic_ns

from atoll.errors import AtollError, CancelledError, UnavailableError
from atoll.execution.clock import Alarm, Clock
from atoll.execution.in_flight import InFlight, not_accepted, not_executed
from atoll.execution.permit import turn_of
from atoll.execution.queue_exits import QueueExits
from atoll.execution.request_instance import RequestModelInstance
from atoll.request import QUEUED, Defer, InferenceRequest, run_at_once
from atoll.scheduling.scheduler import NextBatch, Scheduler, WaitUntil

logger = logging.getLogger(__name__)

SINGLES_AHEAD = 1 << 16  # as many as the instance likes: nothing is lost by sending a request that runs alone
BATCHES_AHEAD = 2  # where a batch that is formed later would be a larger one


class _Seat:
    """An instance's place: how many batches it has, whether it can take any, whether it is to go."""

    __slots__ = ("executing", "instance", "leaving", "number", "up")

    def __init__(self, instance: RequestModelInstance, number: int):
        self.instance = instance
        self.number = number  # by which the scheduler knows it
        self.executing = 0
        self.up = True
        self.leaving = False


class ForwardingPool:
    """The life of a pool is that of an InstancePool. Thread-safe.

    `ahead`: how many batches an instance may be given beforehand. While no instance is up the pool refuses requests,
    and keeps those that it has until a restart has failed.
    """

    def __init__(
        self,
        model_name: str,
        scheduler: Scheduler,
        instances: Sequence[RequestModelInstance],
        clock: Clock,
        *,
        ahead: int = SINGLES_AHEAD,
    ):
        self._model_name = model_name
        self._scheduler = scheduler
        self._traits = traits = scheduler.traits
        self._ahead = 0 if traits.waits or traits.follows else ahead
        self._lock = threading.Lock()
        self._numbers = count()
        self._seats = {instance: self._new_seat(instance) for instance in instances}
        self._leaving: dict[RequestModelInstance, _Seat] = {}
        self._closing: list[threading.Thread] = []
        self._limited = any(one.permit for one in instances)
        self._due: Defer | None = None  # whose thread will look at the queue on its next turn
        self._accepting = False
        self._patient = True  # batches wait for company
        self._stopping = False
        self._reason = ""  # why no instance can take anything
        self._in_flight = InFlight(self._lock)  # queued or executing
        self._alarm = Alarm(clock, self.advance)
        self._exits = QueueExits(scheduler, self._lock, self._in_flight, clock, self._fail, self.advance)
        self.last_used_ns = monotonic_ns()

    def _new_seat(self, instance: RequestModelInstance) -> _Seat:
        seat = _Seat(instance, next(self._numbers))
        self._scheduler.seat_added(seat.number)
        return seat

    # ---- start

    def start(self) -> None:
        """Begin to accept requests."""
        with self._lock:
            self._accepting = True
        for instance in list(self._seats):
            instance.attach(self)

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Queue a validated request. Raises UnavailableError when the pool no longer accepts any."""
        defer = request.defer
        with self._lock:
            if not self._accepting:
                raise not_accepted(self._model_name)
            if self._reason:
                raise UnavailableError(self._reason)
            self.last_used_ns = now_ns = request.timeline.queue_start = monotonic_ns()
            self._scheduler.enqueue(request, now_ns)
            request.move(QUEUED)
            request.on_cancel = self._exits.on_cancel
            self._in_flight.count += 1
            if self._traits.expires:
                self._exits.watch()
            if self._due is not None and self._due == defer:
                return  # goes out together with what came before it on this turn of the loop
            at_once = (
                defer is None or defer is run_at_once or self._in_flight.count == 1
            )  # nothing else to send it with
            if not at_once:
                self._due = defer
        if at_once or defer is None:
            self.advance()
        else:
            defer(self._advance_as_promised)

    def _advance_as_promised(self) -> None:
        self._due = None  # a loop that dies before this holds up only its own requests: any other looks for itself
        self.advance()

    def advance(self) -> None:
        """Give out what is queued, as far as there is room."""
        given: list[RequestModelInstance] = []
        while self._scheduler.pending() or self._limited:  # without the lock: who adds to it comes here afterwards
            with self._lock:
                found = self._batch_by_seat() if self._traits.by_seat else self._batch_for_any()
                if found is None:
                    break
                seat, batch = found
                seat.executing += 1
            if not seat.instance.begin(batch):
                self.released(seat.instance, batch)
            elif seat.instance not in given:
                given.append(seat.instance)
        for instance in given:
            instance.flush()

    def _batch_for_any(self) -> tuple[_Seat, Sequence[InferenceRequest]] | None:
        seat = self._free_seat()
        batch = None if seat is None else self._next_batch(seat)
        return None if seat is None or batch is None else (seat, batch)

    def _batch_by_seat(self) -> tuple[_Seat, Sequence[InferenceRequest]] | None:
        """The same, where what is queued is not for any instance: every one that has room is asked."""
        until_ns = 0
        for seat in self._in_turn():
            permit = seat.instance.permit
            has_room = seat.up and not self._stopping and seat.executing < seat.instance.limit(self._ahead)
            if has_room and self._scheduler.wants(seat.number):
                if permit is not None and not permit.take(self.advance):
                    continue
                batch = self._formed(seat)
                if batch is not None and not isinstance(batch, WaitUntil):
                    return seat, batch
                if batch is not None:
                    until_ns = min(batch.ns, until_ns or batch.ns)
            if permit is not None and not seat.executing:
                permit.give_back()
        if until_ns:
            self._alarm.set(until_ns)
        return None

    def _next_batch(self, seat: _Seat) -> Sequence[InferenceRequest] | None:
        """What this seat is given now, with its permit. Under the lock."""
        batch = self._formed(seat)
        if isinstance(batch, WaitUntil):
            self._alarm.set(batch.ns)
            batch = None
        if batch is None:
            self._give_back()
        return batch

    def _formed(self, seat: _Seat) -> NextBatch:
        """What the scheduler has for it, which is not to wait where no company can come any more."""
        batch = self._scheduler.next_batch(monotonic_ns(), seat.number)
        if isinstance(batch, WaitUntil) and not self._patient:
            batch = self._scheduler.next_batch(batch.ns, seat.number)
        self._exits.watch()
        return batch

    def _in_turn(self) -> Iterable[_Seat]:
        """The seats; where they need permits, the one whose turn it is first."""
        seats = self._seats.values()
        return sorted(seats, key=lambda seat: turn_of(seat.instance.permit)) if self._limited else seats

    def _give_back(self) -> None:
        """There is nothing to execute now: not for one instance after the other, whose turn it would be then."""
        if self._limited:
            for seat in self._seats.values():
                if seat.instance.permit is not None and not seat.executing:
                    seat.instance.permit.give_back()

    def _free_seat(self) -> _Seat | None:
        """One that can be given a batch. Under the lock."""
        if not self._scheduler.pending():
            self._give_back()  # what they were waiting for others have done
            return None
        best = None
        for seat in self._in_turn():
            executing = seat.executing
            if seat.up and not self._stopping and (best is None or executing < best.executing):
                limit = seat.instance.limit(self._ahead)
                if executing < limit:
                    permit = seat.instance.permit
                    if permit is not None:
                        if permit.take(self.advance):
                            return seat
                        continue
                    if not executing:
                        return seat
                    best = seat
        return best

    def _fail(self, request: InferenceRequest, error: AtollError) -> None:
        with self._lock:
            instance = next(iter(self._seats))
        instance.fail(request, error, executed=False)

    # ---- what it says of itself

    @property
    def available(self) -> bool:
        """Whether any instance can take batches."""
        return not self._reason

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

    def instances(self) -> list[RequestModelInstance]:
        """Those that take batches, or will again when they are back."""
        with self._lock:
            return list(self._seats)

    def change_instances(self, added: Sequence[RequestModelInstance], removed: Sequence[RequestModelInstance]) -> bool:
        """Let further instances take batches, and these no more: each is closed when all that it has is answered.

        Returns False, and changes nothing, when the pool is stopping. At least one instance must remain.
        """
        with self._lock:
            if self._stopping or not self._accepting:
                return False
            for instance in removed:
                seat = self._seats.pop(instance)
                seat.leaving = True
                self._scheduler.seat_removed(seat.number)
                self._leaving[instance] = seat
                if instance.permit is not None and not seat.executing:
                    instance.permit.give_back()
            self._seats.update({instance: self._new_seat(instance) for instance in added})
            self._limited = any(one.permit for one in self._seats)
            self._exits.watch()  # requests may be refused for it
        for instance in added:
            instance.attach(self)
        for instance in removed:
            self._let_go(instance)
        self.advance()
        return True

    def _let_go(self, instance: RequestModelInstance) -> None:
        """Close a leaving instance, on a thread of its own, once it has answered everything."""
        with self._lock:
            seat = self._leaving.get(instance)
            if seat is None or instance.holds or (seat.executing and seat.up) or self._stopping:
                return
            del self._leaving[instance]
            self._closing = [thread for thread in self._closing if thread.is_alive()]
            thread = threading.Thread(target=_close, args=(instance, monotonic_ns() + _LEAVING_NS), daemon=True)
            self._closing.append(thread)
        thread.start()

    # ---- what the instances say (request_instance.py, Room)

    def released(self, instance: RequestModelInstance, requests: Sequence[InferenceRequest]) -> None:
        with self._lock:
            seat = self._seats.get(instance) or self._leaving.get(instance)
            if seat is not None and seat.executing:
                seat.executing -= 1
                self._tell_finished(seat, requests)
                permit = seat.instance.permit
                if permit is not None:
                    more = not (seat.leaving or self._stopping) and self._scheduler.wants(seat.number)
                    permit.executed(self.advance if more else None)
        if seat is not None and seat.leaving:
            self._let_go(instance)

    def answered(self) -> None:
        with self._lock:
            self._in_flight.finished(1)
            leaving = list(self._leaving)
        for instance in leaving:
            self._let_go(instance)

    def _tell_finished(self, seat: _Seat, requests: Sequence[InferenceRequest]) -> None:
        if self._traits.follows:
            self._scheduler.finished(requests, seat.number)
            self._exits.watch()

    def requeue(self, instance: RequestModelInstance, request: InferenceRequest) -> None:
        error: AtollError = UnavailableError(f"model '{self._model_name}' was stopped")
        with self._lock:
            if not self._stopping:
                try:
                    self._scheduler.requeue(request, monotonic_ns())
                    request.on_cancel = self._exits.on_cancel
                    withdrawn = request.cancelled and self._scheduler.withdraw(request)
                    self._exits.watch()
                    if not withdrawn:
                        return
                    error = CancelledError("request was cancelled before it was executed again")
                except AtollError as refused:
                    error = refused
        instance.fail(request, error, executed=False)
        self.answered()

    def down(
        self, instance: RequestModelInstance, reason: str, batches: Sequence[Sequence[InferenceRequest]] = ()
    ) -> None:
        withdrawn: list[InferenceRequest] = []
        with self._lock:
            seat = self._seats.get(instance) or self._leaving.get(instance)
            if seat is None:
                return
            was_up = seat.up
            seat.up = False
            seat.executing = 0
            if instance.permit is not None:
                instance.permit.give_back()
            for requests in batches:
                self._tell_finished(seat, requests)
            if self._traits.by_seat:
                self._scheduler.seat_lost(seat.number)
                self._exits.watch()
            none_left = not any(one.up for one in self._seats.values())
            if none_left:
                self._reason = reason
                if not was_up:  # a restart has failed: what waits need not hope for the next
                    withdrawn = self._scheduler.withdraw_all()
        for request in withdrawn:
            instance.fail(request, UnavailableError(reason), executed=False)
            self.answered()
        self._let_go(instance)

    def up(self, instance: RequestModelInstance) -> None:
        with self._lock:
            seat = self._seats.get(instance)
            if seat is None:
                return
            seat.up = True
            self._reason = ""
        self.advance()

    # ---- stop

    def hurry(self) -> None:
        """Nothing waits for company any more; requests are accepted as before."""
        with self._lock:
            self._patient = False
        self.advance()

    def refuse(self) -> None:
        """Accept nothing new; what was accepted still runs, and waits for company no longer."""
        with self._lock:
            self._accepting = self._patient = False
            self._scheduler.no_more()
        self.advance()

    def drain(self, deadline_ns: int) -> bool:
        """Wait until all that was accepted is answered; False when the deadline came first."""
        return self._in_flight.drain(deadline_ns)

    def stop(self, deadline_ns: int) -> bool:
        """Answer what is still queued or executing with an error, and close the instances, side by side.

        Returns False when an instance could not be freed by then.
        """
        with self._lock:
            self._accepting = False
            self._stopping = True
            withdrawn = self._scheduler.withdraw_all()
            instances = [*self._seats, *self._leaving]
        self._alarm.close()
        self._exits.end(withdrawn, not_executed(self._model_name))
        results: list[bool] = []
        threads = [
            threading.Thread(target=lambda one=one: results.append(_close(one, deadline_ns)), daemon=True)
            for one in instances[1:]
        ]
        for thread in threads:
            thread.start()
        results.append(_close(instances[0], deadline_ns))
        for thread in [*threads, *self._closing]:
            thread.join(max(deadline_ns - monotonic_ns(), 0) / 1e9 + _GRACE_S)
        return len(results) == len(instances) and all(results)


_LEAVING_NS = 30_000_000_000  # that an instance which was taken out of service gets to end
_GRACE_S = 10.0  # a close that is given a deadline takes a little longer, where it has to kill


def _close(instance: RequestModelInstance, deadline_ns: int) -> bool:
    """One that fails at it must not keep the others from being closed."""
    try:
        return instance.close(deadline_ns)
    except Exception:
        logger.exception("instance '%s' could not be closed in whole", instance.name)
        return False
