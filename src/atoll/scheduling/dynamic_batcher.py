"""The dynamic batcher: a queue to which `batch_forming` is applied whenever an instance is free."""

from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.queue import RequestQueue
from atoll.scheduling.scheduler import NextBatch, Traits, WaitUntil


class DynamicBatcher(RequestQueue):
    """For models with `dynamic_batching` in their configuration."""

    def __init__(self, rules: BatchRules) -> None:
        super().__init__()
        self._rules = rules
        self.traits = Traits(waits=rules.max_queue_delay_ns > 0)

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        queue = self._queue
        if not queue:
            return None
        formed = form_batch(queue, self._rules, next(iter(queue)).timeline.queue_start, now_ns)
        if isinstance(formed, WaitUntil):
            return formed
        return [queue.popitem(last=False)[0] for _ in range(formed)]
