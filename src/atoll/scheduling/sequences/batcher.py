"""The sequence batcher: requests of one sequence go to one instance, in their order and one at a time. Pure.

A sequence that starts is given a slot of an instance (seat.py), or waits in the backlog for the first that
becomes free, in the order of the starts. A correlation ID belongs to a sequence from its START until its END has come,
it has idled out, or what it has to run with is lost. A START under an ID that is in use starts anew in the same slot,
after what came before.

Idle is a sequence of which nothing waits or runs. (The real server counts from the arrival of the last request, so
that there a sequence can idle out while its request runs.)
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass
from itertools import count

from atoll.errors import AtollError, InvalidArgumentError, OverloadedError, UnavailableError
from atoll.request import InferenceRequest
from atoll.scheduling.queueing.due_times import DueTimes
from atoll.scheduling.queueing.queue_policy import nanoseconds
from atoll.scheduling.scheduler import NextBatch, Refusal, Traits, WaitUntil
from atoll.scheduling.sequences.facts import sequence_facts
from atoll.scheduling.sequences.seat import SequenceSeat
from atoll.scheduling.sequences.sequence import FIRST, INNER, LAST, ONLY, CorrelationId, Sequence, Step

_AT_ONCE = 1  # a moment that is always past


@dataclass(frozen=True, slots=True)
class SequenceRules:
    """From the model's configuration. `make_seat` makes the place of one instance; `waits`: its batches may wait for
    company. `iterative`: each request is a sequence of its own, which its model executes again until it is done.
    `id_input`: the input, and its type, to which correlation IDs go that cannot be strings; "": there is none.
    """

    model_name: str
    make_seat: Callable[[], SequenceSeat]
    waits: bool
    idle_ns: int
    iterative: bool
    max_backlog: int  # how many sequences may wait for a slot
    id_input: str = ""


class SequenceBatcher:
    """For models with `sequence_batching`. See scheduler.py for what the methods promise."""

    def __init__(self, rules: SequenceRules):
        self.traits = Traits(waits=rules.waits, expires=True, follows=True, by_seat=True)
        self._rules = rules
        self._seats: dict[int, SequenceSeat] = {}
        self._by_id: dict[CorrelationId, Sequence] = {}
        self._backlog: OrderedDict[Sequence, None] = OrderedDict()
        self._deadlines: DueTimes[Sequence] = DueTimes(self._backlog.__contains__)
        self._idle: OrderedDict[Sequence, int] = OrderedDict()  # since when, the longest first
        self._just_idle: list[Sequence] = []  # since now, but nobody has said when that is
        self._idle_alarm_ns = 0  # when to look for those that idle out: seldom moved, for that costs a timer
        self._refused: list[Refusal] = []
        self._pending = 0
        self._now_ns = 0  # when something was last done
        self._own_ids = count(1)
        self._open = True  # requests may come

    # ---- in

    def enqueue(self, request: InferenceRequest, now_ns: int) -> None:
        if request.batch_size > 1:
            raise InvalidArgumentError(
                f"inference request to model '{self._rules.model_name}' must specify batch-size 1 due to requirements "
                "of sequence batcher"
            )
        correlation_id, step = self._facts(request)
        sequence = self._by_id.get(correlation_id)
        if sequence is None:
            sequence = self._begin(correlation_id, step)
        elif step.end:
            del self._by_id[correlation_id]
        sequence.ended = step.end
        request.sequence = sequence
        request.step = step
        self._now_ns = now_ns
        self._pending += 1
        sequence.push(request)
        if sequence.seat is None:
            if request.timeout_us:
                self._limit_wait(sequence, now_ns + nanoseconds(request.timeout_us))
        elif not sequence.executing and sequence.first is request:
            self._idle.pop(sequence, None)
            sequence.seat.ready[request] = None

    def _begin(self, correlation_id: CorrelationId, step: Step) -> Sequence:
        """A sequence for the first request under this ID."""
        if not step.start:
            raise InvalidArgumentError(
                f"inference request for sequence {correlation_id} to model '{self._rules.model_name}' must specify "
                "the START flag on the first request of the sequence"
            )
        if self._rules.id_input and isinstance(correlation_id, str):  # in its batch it would be the others' error too
            raise InvalidArgumentError(
                f"the correlation ID '{correlation_id}' is a string, but {self._rules.id_input}; send a number, or "
                "give the control data_type: TYPE_STRING"
            )
        sequence = Sequence(correlation_id)
        self._admit(sequence)
        if not step.end:
            self._by_id[correlation_id] = sequence
        return sequence

    def _facts(self, request: InferenceRequest) -> tuple[CorrelationId, Step]:
        parameters = request.parameters or {}
        correlation_id, step = sequence_facts(parameters, self._rules.model_name)
        if correlation_id:
            return correlation_id, step
        if not self._rules.iterative:
            raise InvalidArgumentError(
                f"inference request to model '{self._rules.model_name}' must specify a non-zero or non-empty "
                "correlation ID"
            )
        correlation_id = next(one for one in self._own_ids if one not in self._by_id)
        request.parameters = {**parameters, "sequence_id": correlation_id, "sequence_start": True}
        return correlation_id, ONLY if step.end else FIRST

    def _admit(self, sequence: Sequence) -> None:
        """Into a slot, or into the backlog. Raises OverloadedError."""
        seat = self._roomy_seat()
        if seat is not None:
            seat.place(sequence)
        elif len(self._backlog) < self._rules.max_backlog:
            self._backlog[sequence] = None
        else:
            raise OverloadedError(
                f"sequence {sequence.correlation_id} of model '{self._rules.model_name}' cannot start: "
                f"{len(self._backlog)} sequences wait for a slot already; end sequences that are done, or allow more "
                "slots or instances"
            )

    def _roomy_seat(self) -> SequenceSeat | None:
        """The one with the fewest sequences, if that has room."""
        best = min(self._seats.values(), key=lambda seat: len(seat.live), default=None)
        return best if best is not None and best.has_room() else None

    def _limit_wait(self, sequence: Sequence, deadline_ns: int) -> None:
        """The whole sequence is refused when it has no slot by then."""
        if not sequence.deadline_ns or deadline_ns < sequence.deadline_ns:
            sequence.deadline_ns = deadline_ns
            self._deadlines.add(deadline_ns, sequence, len(self._backlog))

    def requeue(self, request: InferenceRequest, now_ns: int) -> None:
        sequence = request.sequence
        assert isinstance(sequence, Sequence), "a request that was executed has its sequence. This is a bug"
        if sequence.seat is None:
            raise UnavailableError(f"sequence {sequence.correlation_id} is over: its request cannot be executed again")
        step = request.step
        request.step = LAST if isinstance(step, Step) and step.end else INNER
        request.parameters = {**(request.parameters or {}), "sequence_start": False}  # as the real server tells models
        self._pending += 1
        self._now_ns = now_ns
        sequence.push_front(request)
        if not sequence.executing:
            self._settle(sequence, now_ns)

    # ---- out

    def wants(self, seat: int) -> bool:
        place = self._seats.get(seat)
        return place is not None and place.wants()

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        place = self._seats.get(seat)
        batch = None if place is None else place.next_batch(now_ns)
        if batch is None or isinstance(batch, WaitUntil):
            return batch
        for request in batch:
            if not request.filler:
                sequence = request.sequence
                assert isinstance(sequence, Sequence)
                sequence.pop()
                sequence.executing = True
                if request.step is FIRST or request.step is ONLY:
                    sequence.states = {}
                self._pending -= 1
        return batch

    def finished(self, requests: Several[InferenceRequest], seat: int) -> None:
        place = self._seats.get(seat)
        if place is not None:
            place.finished()
        for request in requests:
            sequence = request.sequence
            if isinstance(sequence, Sequence):
                sequence.executing = False
                stamps = request.timeline
                self._settle(sequence, stamps.request_end or stamps.compute_output_start or stamps.queue_start)

    def _settle(self, sequence: Sequence, since_ns: int) -> None:
        """Nothing of it is executed: what is next?"""
        seat = sequence.seat
        if sequence.first is not None:
            if seat is not None:
                self._idle.pop(sequence, None)
                seat.ready[sequence.first] = None
        elif sequence.ended or self._rules.iterative or seat is None or not self._open:
            self._end(sequence)
        else:
            self._idle[sequence] = since_ns

    def _end(self, sequence: Sequence) -> None:
        """It is over, and its slot is for the backlog's first."""
        self._forget_id(sequence)
        self._backlog.pop(sequence, None)
        self._idle.pop(sequence, None)
        sequence.states = {}
        if sequence.seat is not None:
            sequence.seat.remove(sequence)
            self._promote()

    def _forget_id(self, sequence: Sequence) -> None:
        sequence.ended = True
        if self._by_id.get(sequence.correlation_id) is sequence:
            del self._by_id[sequence.correlation_id]

    def _promote(self) -> None:
        while self._backlog:
            seat = self._roomy_seat()
            if seat is None:
                return
            sequence = self._backlog.popitem(last=False)[0]
            seat.place(sequence)
            if sequence.first is not None:
                seat.ready[sequence.first] = None

    def head(self) -> InferenceRequest | None:
        for seat in self._seats.values():
            if seat.wants():
                return next(iter(seat.ready))
        return None

    def pending(self) -> int:
        return self._pending

    def sequences(self) -> int:
        return len(self._by_id)

    # ---- what leaves without having been executed

    def withdraw(self, request: InferenceRequest) -> bool:
        sequence = request.sequence
        if not isinstance(sequence, Sequence) or (sequence.first is not request and not _waits_in(sequence, request)):
            return False
        if request.step is FIRST or request.step is ONLY:
            self._drop_run(
                sequence,
                request,
                lambda: UnavailableError(
                    f"sequence {sequence.correlation_id} of model '{self._rules.model_name}' was not started, for the "
                    "request that starts it was withdrawn; start it again"
                ),
            )
        self._take_out(sequence, request)
        if not sequence.executing:
            self._settle(sequence, self._now_ns)
            if sequence in self._idle:
                self._just_idle.append(sequence)
        return True

    def _drop_run(self, sequence: Sequence, start: InferenceRequest | None, error: Callable[[], AtollError]) -> None:
        """Refuse what follows this request (None: all from the first on), up to the next START."""
        found = start is None
        following: list[InferenceRequest] = []
        for request in sequence.waiting():
            if found:
                if request.step is FIRST or request.step is ONLY:
                    break
                following.append(request)
            elif request is start:
                found = True
        else:
            self._forget_id(sequence)  # what might follow would follow nothing
        for request in following:
            self._take_out(sequence, request)
            self._refused.append(Refusal(request, error()))

    def _take_out(self, sequence: Sequence, request: InferenceRequest) -> None:
        if sequence.remove(request):
            self._pending -= 1
            if sequence.seat is not None:
                sequence.seat.ready.pop(request, None)

    def withdraw_all(self) -> list[InferenceRequest]:
        withdrawn = [refused.request for refused in self._refused]
        self._refused = []
        backlog, sequences = list(self._backlog), self._sequences()
        self._backlog.clear()
        for sequence in (*sequences, *backlog):
            for request in list(sequence.waiting()):
                self._take_out(sequence, request)
                withdrawn.append(request)
            self._forget_id(sequence)
            if not sequence.executing:
                self._end(sequence)
        return withdrawn

    def _sequences(self) -> list[Sequence]:
        """Those that have slots."""
        return [sequence for seat in self._seats.values() for sequence in seat.live.values()]

    # ---- time

    def next_expiry_ns(self) -> int:
        if self._refused or self._just_idle:
            return _AT_ONCE
        if self._idle and not self._idle_alarm_ns:
            self._idle_alarm_ns = next(iter(self._idle.values())) + self._rules.idle_ns
        deadline_ns = self._deadlines.next_ns()
        if deadline_ns and self._idle_alarm_ns:
            return min(deadline_ns, self._idle_alarm_ns)
        return deadline_ns or self._idle_alarm_ns

    def expire(self, now_ns: int) -> Several[Refusal]:
        self._now_ns = now_ns
        for sequence in self._just_idle:
            if sequence in self._idle:
                self._idle[sequence] = now_ns
                self._idle.move_to_end(sequence)
        self._just_idle.clear()
        for sequence in self._deadlines.due(now_ns):
            self._refuse_waiting(sequence, _no_slot_in_time)
            self._end(sequence)
        if self._idle_alarm_ns and self._idle_alarm_ns <= now_ns:
            self._idle_alarm_ns = 0
            while self._idle:
                sequence, since_ns = next(iter(self._idle.items()))
                if since_ns + self._rules.idle_ns > now_ns:
                    break
                self._end(sequence)
        refused, self._refused = self._refused, []
        return refused

    def no_more(self) -> None:
        self._open = False
        for sequence in list(self._idle):
            self._end(sequence)  # nothing can continue it, and somebody may wait for its slot

    def _refuse_waiting(self, sequence: Sequence, error: Callable[[], AtollError]) -> None:
        for request in list(sequence.waiting()):
            self._take_out(sequence, request)
            self._refused.append(Refusal(request, error()))

    # ---- seats

    def seat_added(self, seat: int) -> None:
        self._seats[seat] = self._rules.make_seat()
        self._promote()

    def seat_lost(self, seat: int) -> None:
        """What the instance remembered of its sequences is gone: they are over, but for those that start anew."""
        place = self._seats.get(seat)
        if place is not None:
            self._interrupt(place.live.values(), "the process of its instance has ended")

    def _interrupt(self, sequences: Iterable[Sequence], cause: str) -> None:
        """End those that have begun: what they were to run with is gone."""
        for sequence in list(sequences):
            if sequence.executing or not _starts_anew(sequence):
                self._drop_run(sequence, None, self._lost(sequence, cause))
                if not sequence.executing:
                    self._settle(sequence, self._now_ns)

    def _lost(self, sequence: Sequence, cause: str) -> Callable[[], AtollError]:
        return lambda: UnavailableError(
            f"sequence {sequence.correlation_id} of model '{self._rules.model_name}' is lost, for {cause}; "
            "start it again"
        )

    def seat_removed(self, seat: int) -> None:
        place = self._seats.pop(seat, None)
        if place is None:
            return
        cause = "its instance was taken out of service"
        self._interrupt(place.live.values(), cause)
        for _, sequence in sorted(place.live.items(), reverse=True):
            place.remove(sequence)
            if sequence.executing:  # what starts anew behind it would never be executed here
                self._refuse_waiting(sequence, self._lost(sequence, cause))
                self._forget_id(sequence)
            else:
                self._backlog[sequence] = None
                self._backlog.move_to_end(sequence, last=False)
        self._promote()


def _no_slot_in_time() -> UnavailableError:
    return UnavailableError("timeout of the corresponding sequence has been expired")


def _starts_anew(sequence: Sequence) -> bool:
    """Whether what runs next does not depend on what ran before."""
    first = sequence.first
    return first is not None and (first.step is FIRST or first.step is ONLY)


def _waits_in(sequence: Sequence, request: InferenceRequest) -> bool:
    return sequence.more is not None and request in sequence.more
