"""The default scheduler: each request runs alone, in the order of arrival."""

from collections import deque

from atoll.request import InferenceRequest
from atoll.scheduling.scheduler import NextBatch


class DirectScheduler:
    """For models without dynamic batching: what the client sent together runs together, and nothing else."""

    def __init__(self) -> None:
        self._queue: deque[InferenceRequest] = deque()

    def enqueue(self, request: InferenceRequest) -> None:
        self._queue.append(request)

    def next_batch(self, now_ns: int) -> NextBatch:
        return (self._queue.popleft(),) if self._queue else None

    def head(self) -> InferenceRequest | None:
        return self._queue[0] if self._queue else None

    def withdraw_all(self) -> list[InferenceRequest]:
        withdrawn = list(self._queue)
        self._queue.clear()
        return withdrawn

    def pending(self) -> int:
        return len(self._queue)
