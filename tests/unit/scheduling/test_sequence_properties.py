"""Whatever comes, and in whatever order: what a sequence batcher promises of every request and every sequence."""

from collections.abc import Sequence as Several
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.scheduling.queued import MS, Silent

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.errors import AtollError, InvalidArgumentError
from atoll.request import InferenceRequest
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import WaitUntil
from atoll.scheduling.sequences.batcher import SequenceBatcher
from atoll.scheduling.sequences.sequence import ABSENT, Sequence, Step

IDS = st.sampled_from([1, 2, 3, 4, 5, "one", "two"])
SLOTS = st.integers(1, 3)
IDLE_MS = 50

StreamSlots = ModelSequenceBatching.StrategyDirect
Candidates = ModelSequenceBatching.StrategyOldest
STRATEGIES = st.one_of(
    st.just(StreamSlots()),
    st.just(StreamSlots(minimum_slot_utilization=0.6, max_queue_delay_microseconds=20_000)),
    st.builds(
        Candidates,
        max_candidate_sequences=SLOTS,
        preferred_batch_size=st.sampled_from([(), (2,)]),
        max_queue_delay_microseconds=st.sampled_from([0, 20_000]),
        preserve_ordering=st.booleans(),
    ),
)


class Batcher(RuleBasedStateMachine):
    @initialize(strategy=STRATEGIES, size=SLOTS, seats=st.integers(1, 3), iterative=st.booleans())
    def load(self, strategy: Any, size: int, seats: int, iterative: bool) -> None:
        self.direct = isinstance(strategy, StreamSlots)
        self.slots = size if self.direct else strategy.max_candidate_sequences
        self.size = size
        self.iterative = iterative
        config = ModelConfig(
            name="m",
            max_batch_size=size,
            sequence_batching=ModelSequenceBatching(
                direct=strategy if self.direct else None,
                oldest=None if self.direct else strategy,
                max_sequence_idle_microseconds=IDLE_MS * 1000,
                iterative_sequence=iterative,
            ),
        )
        batcher = choose_scheduler(config)
        assert isinstance(batcher, SequenceBatcher)
        self.batcher = batcher
        self.seats = list(range(seats))
        self.next_seat = seats
        for seat in self.seats:
            self.batcher.seat_added(seat)
        self.now_ns = 1000 * MS
        self.queued: dict[InferenceRequest, int] = {}  # with their numbers
        self.running: list[tuple[int, Several[InferenceRequest]]] = []
        self.seat_of: dict[Sequence, int] = {}
        self.last: dict[Sequence, int] = {}  # the number of the last one that ran
        self.begun: dict[Sequence, int] = {}  # when its slot was asked for
        self.again: set[InferenceRequest] = set()
        self.moved = False
        self.count = 0

    # ---- what happens

    @rule(correlation_id=IDS, start=st.booleans(), end=st.booleans(), key=st.sampled_from("ab"), timeout=st.booleans())
    def ask(self, correlation_id: Any, start: bool, end: bool, key: str, timeout: bool) -> None:
        request = InferenceRequest(
            "m",
            {},
            Silent(),
            parameters={"sequence_id": correlation_id, "sequence_start": start, "sequence_end": end},
            timeout_us=10_000 if timeout else 0,
        )
        request.batch_key = key
        request.timeline.queue_start = self.now_ns
        known = correlation_id in self.batcher._by_id
        try:
            self.batcher.enqueue(request, self.now_ns)
        except InvalidArgumentError:
            assert not start
            assert not known
            return
        assert start or known
        self.count += 1
        self.queued[request] = self.count
        assert isinstance(request.sequence, Sequence)
        self.begun.setdefault(request.sequence, self.count)

    @rule(choice=st.integers(0, 9))
    def run(self, choice: int) -> None:
        seat = self.seats[choice % len(self.seats)]
        wanted = self.batcher.wants(seat)
        batch = self.batcher.next_batch(self.now_ns, seat)
        assert wanted == (batch is not None)
        if batch is None:
            return
        if isinstance(batch, WaitUntil):
            assert batch.ns > self.now_ns
            return
        self.check_batch(seat, batch)
        self.running.append((seat, batch))

    def check_batch(self, seat: int, batch: Several[InferenceRequest]) -> None:
        assert 0 < len(batch) <= self.size
        assert len({request.batch_key for request in batch}) == 1
        assert not batch[-1].filler
        busy = {one.sequence for _, others in self.running for one in others}
        if self.direct:
            assert all(at != seat for at, _ in self.running)
        for place, request in enumerate(batch):
            if request.filler:
                assert self.direct
                assert request.step is ABSENT
                assert request.sequence is None
                continue
            sequence = request.sequence
            assert isinstance(sequence, Sequence)
            assert isinstance(request.step, Step)
            assert request.step.ready
            if self.direct:
                assert sequence.slot == place
            number = self.queued.pop(request)
            assert sequence not in busy, "one request of a sequence at a time"
            busy.add(sequence)
            if request.step.start and self.moved:  # where it starts anew it may move
                self.seat_of[sequence] = seat
            assert self.seat_of.setdefault(sequence, seat) == seat
            if sequence not in self.last:
                assert request.step.start, "what runs first is a START"
                assert sequence.states == {}
                earlier = [one for one in self.batcher._backlog if self.begun[one] < self.begun[sequence]]
                assert self.moved or not earlier, "the backlog is first come, first served"
            if request in self.again:
                assert not request.step.start, "it starts once"
            else:
                assert number > self.last.get(sequence, 0), "in the order in which they came"
                self.last[sequence] = number

    @precondition(lambda self: self.running)
    @rule(choice=st.integers(0, 9), again=st.booleans())
    def finish(self, choice: int, again: bool) -> None:
        seat, batch = self.running.pop(choice % len(self.running))
        if again:
            for request in batch:
                if not request.filler and request.sequence.seat is not None:  # type: ignore[attr-defined]
                    self.batcher.requeue(request, self.now_ns)
                    self.queued[request] = 0
                    self.again.add(request)
        for request in batch:
            request.timeline.request_end = self.now_ns
        self.batcher.finished(batch, seat)

    @precondition(lambda self: self.queued)
    @rule(choice=st.integers(0, 99))
    def cancel(self, choice: int) -> None:
        request = list(self.queued)[choice % len(self.queued)]
        refused = any(request is one.request for one in self.batcher._refused)
        assert self.batcher.withdraw(request) != refused
        assert not self.batcher.withdraw(request)
        if not refused:
            del self.queued[request]

    @rule(ms=st.sampled_from([1, 5, 15, 30, 60]))
    def wait(self, ms: int) -> None:
        self.now_ns += ms * MS
        due_ns = self.batcher.next_expiry_ns()
        if due_ns and due_ns <= self.now_ns:
            for request, error in self.batcher.expire(self.now_ns):
                assert isinstance(error, AtollError)
                del self.queued[request]  # once, and never one that runs
        due_ns = self.batcher.next_expiry_ns()
        assert not due_ns or due_ns > self.now_ns, "nothing that is due is passed over"
        for sequence in self.batcher._by_id.values():
            idle_ns = self.batcher._idle.get(sequence)
            assert idle_ns is None or self.now_ns - idle_ns < IDLE_MS * MS
            if sequence.seat is None and sequence.deadline_ns and not self.moved:
                assert sequence.deadline_ns > self.now_ns

    @rule(choice=st.integers(0, 9))
    def lose(self, choice: int) -> None:
        seat = self.seats[choice % len(self.seats)]
        for at, batch in list(self.running):
            if at == seat:
                self.running.remove((at, batch))
                self.batcher.finished(batch, at)
        self.batcher.seat_lost(seat)

    @precondition(lambda self: len(self.seats) > 1)
    @rule()
    def remove(self) -> None:
        seat = self.seats.pop(0)
        self.batcher.seat_removed(seat)
        self.moved = True

    @rule()
    def add(self) -> None:
        if len(self.seats) < 3:
            self.seats.append(self.next_seat)
            self.batcher.seat_added(self.next_seat)
            self.next_seat += 1

    # ---- what always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "batcher"):
            return
        refused = len(self.batcher._refused)
        assert self.batcher.pending() + refused == len(self.queued)
        for seat in self.batcher._seats.values():
            assert len(seat.live) <= self.slots
            assert len(set(seat.live.values())) == len(seat.live)
            for request in seat.ready:
                sequence = request.sequence
                assert isinstance(sequence, Sequence)
                assert sequence.first is request
                assert not sequence.executing
                assert sequence.seat is seat
        room = any(seat.has_room() for seat in self.batcher._seats.values())
        assert not (room and self.batcher._backlog), "a slot is free and somebody waits for one"
        for sequence in self.batcher._sequences():
            waits = sequence.first is not None and not sequence.executing
            assert waits == (sequence.first in sequence.seat.ready)  # type: ignore[union-attr,operator]
            assert sequence.executing or sequence.first is not None or sequence in self.batcher._idle
        assert (self.batcher.head() is not None) == any(self.batcher.wants(seat) for seat in self.seats)

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        withdrawn = self.batcher.withdraw_all()
        assert sorted(map(id, withdrawn)) == sorted(map(id, self.queued))
        for seat, batch in self.running:
            self.batcher.finished(batch, seat)
        assert not self.batcher.pending()
        assert not self.batcher._by_id
        assert not self.batcher._idle
        assert not any(seat.live for seat in self.batcher._seats.values())


TestBatcher = Batcher.TestCase
TestBatcher.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
