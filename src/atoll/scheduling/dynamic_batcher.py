"""The dynamic batcher: a queue to which `batch_forming` is applied whenever an instance is free."""

from collections import deque

from atoll.request import InferenceRequest
from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.scheduler import NextBatch, WaitUntil


class DynamicBatcher:
    """For models with `dynamic_batching` in their configuration."""

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._queue: deque[InferenceRequest] = deque()

    def enqueue(self, request: InferenceRequest) -> None:
        self._queue.append(request)

    def next_batch(self, now_ns: int) -> NextBatch:
        queue = self._queue
        if not queue:
            return None
        formed = form_batch(queue, self._rules, queue[0].timeline.queue_start, now_ns)
        if isinstance(formed, WaitUntil):
            return formed
        return [queue.popleft() for _ in range(formed)]

    def head(self) -> InferenceRequest | None:
        return self._queue[0] if self._queue else None

    def withdraw_all(self) -> list[InferenceRequest]:
        withdrawn = list(self._queue)
        self._queue.clear()
        return withdrawn

    def pending(self) -> int:
        return len(self._queue)
