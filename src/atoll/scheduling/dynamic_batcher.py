"""The dynamic batcher: a queue to which `batch_forming` is applied whenever an instance is free."""

from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.queue import RequestQueue
from atoll.scheduling.scheduler import NextBatch, WaitUntil


class DynamicBatcher(RequestQueue):
    """For models with `dynamic_batching` in their configuration."""

    def __init__(self, rules: BatchRules) -> None:
        super().__init__()
        self._rules = rules

    def next_batch(self, now_ns: int) -> NextBatch:
        queue = self._queue
        if not queue:
            return None
        formed = form_batch(queue, self._rules, queue[0].timeline.queue_start, now_ns)
        if isinstance(formed, WaitUntil):
            return formed
        return [queue.popleft() for _ in range(formed)]
