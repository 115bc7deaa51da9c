"""The dynamic batcher with all that its queue can be asked for: priorities, policies, strategies, ordered responses."""

from itertools import islice

from atoll.request import InferenceRequest
from atoll.scheduling.any_seat import AnySeat
from atoll.scheduling.batch_forming import BatchRules, form_batch
from atoll.scheduling.queueing.batch_strategy import GuardedStrategy
from atoll.scheduling.queueing.priority_queue import PriorityQueue
from atoll.scheduling.queueing.queue_policy import too_late
from atoll.scheduling.queueing.response_order import ResponseOrder
from atoll.scheduling.scheduler import NextBatch, Refusal, Traits, WaitUntil


class _End:
    """Stands behind the requests that a strategy lets run together."""

    batch_size = 1
    batch_key: object = object()  # like no other's


_END = _End()


class QueueingBatcher(AnySeat):
    """For models whose `dynamic_batching` says more than sizes and a delay; see scheduler.py for what the methods
    promise. `prompt`: nothing may be handed out before an instance is free for it, since it would escape the rules of
    its queue.
    """

    def __init__(
        self,
        queue: PriorityQueue,
        rules: BatchRules,
        *,
        strategy: GuardedStrategy | None = None,
        order: ResponseOrder | None = None,
        prompt: bool = True,
    ):
        self._queue = queue
        self._rules = rules
        self._strategy = strategy
        self._order = order
        self.prompt = prompt
        self._asked_ns = self._told_ns = 0  # when it was last said to wait, and until when
        self.traits = Traits(waits=rules.max_queue_delay_ns > 0, expires=queue.refuses)

    def enqueue(self, request: InferenceRequest, now_ns: int) -> None:
        self._queue.push(request, now_ns)

    def requeue(self, request: InferenceRequest, now_ns: int) -> None:
        self._queue.push_back(request, now_ns)

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        queue, rules = self._queue, self._rules
        # A pool that takes no more requests asks at once for the moment that it was told: nobody has become late by it.
        queue.pass_time(self._asked_ns if now_ns == self._told_ns else now_ns)
        candidates = list(islice(queue, rules.max_batch_size + 1))  # the last one shows that no more would fit
        if not candidates:
            return None
        formed = self._form(candidates, now_ns)
        if isinstance(formed, WaitUntil):
            self._asked_ns, self._told_ns = now_ns, formed.ns
            return formed
        batch = candidates[:formed]
        for request in batch:
            queue.remove(request)
        if self._order is not None:
            self._order.admit(batch)
        return batch

    def _form(self, candidates: list[InferenceRequest], now_ns: int) -> int | WaitUntil:
        rules = self._rules
        oldest_ns = self._oldest_ns(candidates) if rules.max_queue_delay_ns else now_ns
        if self._strategy is None:
            return form_batch(candidates, rules, oldest_ns, now_ns)
        count = self._strategy.together(candidates, rules.max_batch_size)
        if count == len(candidates):
            return form_batch(candidates, rules, oldest_ns, now_ns)
        return form_batch([*candidates[:count], _END], rules, oldest_ns, now_ns)

    def _oldest_ns(self, candidates: list[InferenceRequest]) -> int:
        """When the one was queued that has waited longest of those that could run now: with priorities it need not be
        the first.
        """
        oldest_ns, size, key = candidates[0].timeline.queue_start, 0, candidates[0].batch_key
        for request in candidates:
            size += request.batch_size
            if size > self._rules.max_batch_size or request.batch_key != key:
                break
            oldest_ns = min(oldest_ns, request.timeline.queue_start)
        return oldest_ns

    def wants(self, seat: int) -> bool:
        return len(self._queue) > 0

    def head(self) -> InferenceRequest | None:
        return next(iter(self._queue), None)

    def withdraw(self, request: InferenceRequest) -> bool:
        return self._queue.remove(request)

    def withdraw_all(self) -> list[InferenceRequest]:
        return self._queue.clear()

    def next_expiry_ns(self) -> int:
        return self._queue.next_late_ns()

    def expire(self, now_ns: int) -> list[Refusal]:
        self._queue.pass_time(now_ns)
        return [Refusal(request, too_late()) for request in self._queue.take_late()]

    def pending(self) -> int:
        return len(self._queue)
