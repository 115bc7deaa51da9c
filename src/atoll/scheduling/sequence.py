"""What a sequence batcher tells of a request that it hands out: its sequence, and where in the sequence this one is.

Whoever executes the request makes the model's control tensors of it, and keeps the sequence's state (execution/).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from atoll.tensor import Array

CorrelationId: TypeAlias = int | str


class Sequence:
    """One sequence, from its START to its END: `request.sequence` of each of its requests.

    A START of a sequence that has not ended makes a new one of these, under the same correlation ID. One request of a
    sequence is executed at a time, so whoever executes it may read and write `states` without a lock until the answer
    is sent. The memory goes with the last request and the batcher's own reference: when the sequence ends or idles out.
    """

    __slots__ = ("correlation_id", "states")

    def __init__(self, correlation_id: CorrelationId):
        self.correlation_id = correlation_id
        self.states: dict[str, Array] = {}  # by the name of the state's input; absent: the initial state


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
FORCED_END: Final = Step(False, True, False)  # a filler that tells the model of the end of a sequence that idled out
