"""The default scheduler: each request runs alone, in the order of arrival."""

from atoll.scheduling.queue import RequestQueue
from atoll.scheduling.scheduler import NextBatch


class DirectScheduler(RequestQueue):
    """For models without dynamic batching: what the client sent together runs together, and nothing else."""

    def next_batch(self, now_ns: int) -> NextBatch:
        return (self._queue.popleft(),) if self._queue else None
