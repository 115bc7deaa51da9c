"""The sequences that one instance of a model has, and which of their requests run together there. Pure.

Two kinds, as in Triton: `SlotSeat` (the direct strategy), where a sequence's slot is its place in every batch, and
`CandidateSeat` (the oldest strategy), where batches are made of what has waited longest, one request of a sequence.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from heapq import heappop, heappush

from atoll.request import InferenceRequest
from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.queueing.response_order import ResponseOrder
from atoll.scheduling.scheduler import NextBatch, WaitUntil
from atoll.scheduling.sequences.filler import Fillers
from atoll.scheduling.sequences.sequence import Sequence


class SequenceSeat(ABC):
    """What both kinds have in common: slots, and the requests that could run now, longest waiting first."""

    def __init__(self, slot_count: int):
        self._slot_count = slot_count
        self._freed: list[int] = []  # a heap: the lowest is given first, which keeps the batches of slots short
        self._fresh = 0  # slots from here on have never been given
        self.live: dict[int, Sequence] = {}  # by slot
        self.ready: OrderedDict[InferenceRequest, None] = OrderedDict()

    def has_room(self) -> bool:
        """Whether a slot is free."""
        return len(self.live) < self._slot_count

    def place(self, sequence: Sequence) -> None:
        """Give the sequence the lowest free slot."""
        if self._freed:
            slot = heappop(self._freed)
        else:
            slot = self._fresh
            self._fresh += 1
        self.live[slot] = sequence
        sequence.seat, sequence.slot = self, slot

    def remove(self, sequence: Sequence) -> None:
        """Its slot is free."""
        del self.live[sequence.slot]
        heappush(self._freed, sequence.slot)
        sequence.seat = None

    def wants(self) -> bool:
        """Whether `next_batch` has something to say."""
        return bool(self.ready)

    @abstractmethod
    def next_batch(self, now_ns: int) -> NextBatch:
        """As `Scheduler.next_batch`; what is handed out is no longer in `ready`."""

    def finished(self) -> None:  # noqa: B027 - not every kind has to know
        """A batch is done."""


class SlotSeat(SequenceSeat):
    """One batch at a time; in it the request of a sequence stands at the place of its slot.

    With a delay, a batch runs when so many of all slots are `utilized`, or when the first has waited for the delay.
    """

    def __init__(self, slot_count: int, utilization: float = 0.0, max_queue_delay_ns: int = 0):
        super().__init__(slot_count)
        self._wanted = utilization * slot_count if max_queue_delay_ns else 0.0
        self._delay_ns = max_queue_delay_ns
        self._executing = False
        self._fillers = Fillers()

    def wants(self) -> bool:
        return bool(self.ready) and not self._executing

    def next_batch(self, now_ns: int) -> NextBatch:
        if self._executing or not self.ready:
            return None
        first = next(iter(self.ready))
        if len(self.ready) < self._wanted:
            due_ns = first.timeline.queue_start + self._delay_ns
            if now_ns < due_ns:
                return WaitUntil(due_ns)
        key = first.batch_key  # others of other shapes run in the next batch: who waits longest says which shape
        chosen = {_slot(request): request for request in self.ready if request.batch_key == key}
        for request in chosen.values():
            del self.ready[request]
        self._executing = True
        places = max(chosen) + 1
        if places == len(chosen):
            return [chosen[slot] for slot in range(places)]
        fillers = iter(self._fillers.several(first, places - len(chosen)))
        return [chosen[slot] if slot in chosen else next(fillers) for slot in range(places)]

    def finished(self) -> None:
        self._executing = False


def _slot(request: InferenceRequest) -> int:
    sequence = request.sequence
    assert isinstance(sequence, Sequence)
    return sequence.slot


class CandidateSeat(SequenceSeat):
    """A dynamic batcher over the first requests of its sequences."""

    def __init__(self, slot_count: int, rules: BatchRules, *, preserve_ordering: bool = False):
        super().__init__(slot_count)
        self._rules = rules
        self._order = ResponseOrder() if preserve_ordering else None

    def next_batch(self, now_ns: int) -> NextBatch:
        ready = self.ready
        if not ready:
            return None
        formed = form_batch(ready, self._rules, next(iter(ready)).timeline.queue_start, now_ns)
        if isinstance(formed, WaitUntil):
            return formed
        batch = [ready.popitem(last=False)[0] for _ in range(formed)]
        if self._order is not None:
            self._order.admit(batch)
        return batch
