"""The contract of a scheduler: it holds a model version's queued requests and decides which run together.

A scheduler knows no thread and no clock. `execution/pool.py` and `forwarding.py` call it, always under the pool's lock,
so a scheduler needs none. Nothing here may answer a request: what is refused is handed out with its error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from atoll.errors import AtollError
from atoll.request import InferenceRequest


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Not yet: more company may be waited for until this monotonic moment."""

    ns: int


class Refusal(NamedTuple):
    """A request that was taken out of the queue, and the error with which it ends."""

    request: InferenceRequest
    error: AtollError


NextBatch: TypeAlias = Sequence[InferenceRequest] | WaitUntil | None


@dataclass(frozen=True, slots=True)
class Traits:
    """Which of a scheduler's methods its pool has to call at all.

    `waits`: `next_batch` may answer WaitUntil. `expires`: requests may be refused, or other things happen, because time
    passes (`next_expiry_ns`, `expire`). `follows`: it is told of the end of every batch (`finished`). `by_seat`: what
    is queued is not for any instance (`wants`).
    """

    waits: bool = False
    expires: bool = False
    follows: bool = False
    by_seat: bool = False


class Scheduler(Protocol):
    """One per model version. A seat is the number of an instance's place in the pool; numbers are not used twice."""

    traits: Traits

    def enqueue(self, request: InferenceRequest, now_ns: int) -> None:
        """Take a validated request; its `timeline.queue_start` is `now_ns`. It belongs to the scheduler until it is
        handed out by `next_batch`, `expire`, `withdraw` or `withdraw_all`.

        Raises AtollError where it is refused at once; the request is then the caller's again.
        """

    def requeue(self, request: InferenceRequest, now_ns: int) -> None:
        """Take a request that is being executed and is to be executed again. May be called before its batch is
        `finished`. Raises as `enqueue`."""

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        """The requests that the free instance in this seat runs now, or how long to wait for more of them; None: there
        is nothing for it.
        """

    def finished(self, requests: Sequence[InferenceRequest], seat: int) -> None:
        """A batch that `next_batch` gave to this seat has been executed and answered; `requests` may lack those of it
        that were dropped before.
        """

    def wants(self, seat: int) -> bool:
        """Whether `next_batch` of this seat is worth a call: it would answer anything but None."""

    def seat_added(self, seat: int) -> None:
        """An instance takes batches from now on."""

    def seat_removed(self, seat: int) -> None:
        """It takes no more."""

    def seat_lost(self, seat: int) -> None:
        """It goes on, but what it remembered of earlier batches is gone."""

    def no_more(self) -> None:
        """No further request comes: what waits need not wait for any."""

    def head(self) -> InferenceRequest | None:
        """The request whose turn is next, left where it is."""

    def withdraw(self, request: InferenceRequest) -> bool:
        """Take out this one request, which nobody waits for any more; False where it is not queued here."""

    def withdraw_all(self) -> list[InferenceRequest]:
        """Empty the queue, for a model that goes away before it could run them."""

    def next_expiry_ns(self) -> int:
        """The moment at which `expire` has something to do, unless the queue changes before; 0: none."""

    def expire(self, now_ns: int) -> Sequence[Refusal]:
        """Do what is due by now, and hand out what is refused for it."""

    def pending(self) -> int:
        """How many requests wait."""

    def sequences(self) -> int:
        """How many sequences have begun and may go on."""
