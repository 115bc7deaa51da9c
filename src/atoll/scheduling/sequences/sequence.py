"""What a sequence batcher tells of a request that it hands out: its sequence, and where in the sequence this one is.

Whoever executes the request makes the model's control tensors of it, and keeps the sequence's state (execution/).
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from atoll.request import InferenceRequest
from atoll.tensor import Array

CorrelationId: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Step:
    """The control values of one execution of a request: `request.step`. `ready` is false for fillers only."""

    start: bool
    end: bool
    ready: bool


ONLY: Final = Step(True, True, True)  # a sequence of one request
FIRST: Final = Step(True, False, True)
INNER: Final = Step(False, False, True)
LAST: Final = Step(False, True, True)
ABSENT: Final = Step(False, False, False)  # a filler: nothing is there to execute in this slot of the batch


class Place(Protocol):
    """Where sequences are executed (seat.py)."""

    ready: OrderedDict[InferenceRequest, None]  # those that could run now, longest waiting first

    def remove(self, sequence: "Sequence") -> None:
        """Its slot is free."""


class Sequence:
    """One sequence, from its START to its END: `request.sequence` of each of its requests; None for a filler.

    One request of a sequence is executed at a time, so whoever executes it may read and write `states` without a lock
    until its batch is finished. A request whose step has `start` finds them empty. The memory is let go when the
    sequence ends or idles out. The other attributes are the batcher's.
    """

    __slots__ = ("correlation_id", "deadline_ns", "ended", "executing", "first", "more", "seat", "slot", "states")

    def __init__(self, correlation_id: CorrelationId):
        self.correlation_id = correlation_id
        self.states: dict[str, Array] = {}  # by the name of the state's input; absent: the initial state
        self.first: InferenceRequest | None = None  # the next one to be executed
        self.more: OrderedDict[InferenceRequest, None] | None = None  # those after it; most sequences never have any
        self.executing = False
        self.ended = False  # no further request can come: the last one has, or cannot come any more
        self.seat: Place | None = None  # where it is executed; None: it waits for a slot
        self.slot = 0
        self.deadline_ns = 0  # by when it must have a slot; 0: any time

    def push(self, request: InferenceRequest) -> None:
        """Behind all that wait."""
        if self.first is None:
            self.first = request
        else:
            if self.more is None:
                self.more = OrderedDict()
            self.more[request] = None

    def push_front(self, request: InferenceRequest) -> None:
        """Before all that wait."""
        if self.first is not None:
            if self.more is None:
                self.more = OrderedDict()
            self.more[self.first] = None
            self.more.move_to_end(self.first, last=False)
        self.first = request

    def pop(self) -> None:
        """Take out the first."""
        if self.more is None:
            self.first = None
            return
        self.first = self.more.popitem(last=False)[0]
        if not self.more:
            self.more = None

    def remove(self, request: InferenceRequest) -> bool:
        """Take out this one; False where it does not wait here."""
        if request is self.first:
            self.pop()
            return True
        if self.more is None or request not in self.more:
            return False
        del self.more[request]
        if not self.more:
            self.more = None
        return True

    def waiting(self) -> Iterator[InferenceRequest]:
        """Those that wait, in their order."""
        if self.first is not None:
            yield self.first
        if self.more is not None:
            yield from self.more
