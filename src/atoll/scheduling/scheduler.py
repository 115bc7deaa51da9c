"""The contract of a scheduler: it holds a model version's queued requests and decides which run together.

A scheduler knows no thread and no clock. `execution/pool.py` calls it, always under the pool's lock, so a scheduler
needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from atoll.request import InferenceRequest


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Not yet: more company may be waited for until this monotonic moment."""

    ns: int


NextBatch: TypeAlias = Sequence[InferenceRequest] | WaitUntil | None


class Scheduler(Protocol):
    """One per model version."""

    def enqueue(self, request: InferenceRequest) -> None:
        """Take a validated request. It belongs to the scheduler until `next_batch` or `withdraw_all` returns it.

        Raises UnavailableError where the queue is full; the request is then the caller's again.
        """

    def next_batch(self, now_ns: int) -> NextBatch:
        """The requests that a free instance runs now, or how long to wait for more of them; None: nothing is queued."""

    def head(self) -> InferenceRequest | None:
        """The request whose turn is next, left where it is."""

    def withdraw_all(self) -> list[InferenceRequest]:
        """Empty the queue, for a model that goes away before it could run them."""

    def pending(self) -> int:
        """How many requests wait."""
