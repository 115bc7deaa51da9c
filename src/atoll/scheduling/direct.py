"""The default scheduler: each request runs alone, in the order of arrival."""

from atoll.scheduling.queue import RequestQueue
from atoll.scheduling.scheduler import NextBatch


class DirectScheduler(RequestQueue):
    """For models without dynamic batching: what the client sent together runs together, and nothing else."""

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        return (self._queue.popitem(last=False)[0],) if self._queue else None
