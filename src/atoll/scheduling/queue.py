"""The requests that wait for one model version, in the order of their arrival."""

from collections import OrderedDict
from collections.abc import Sequence

from atoll.request import InferenceRequest
from atoll.scheduling.any_seat import AnySeat
from atoll.scheduling.scheduler import Refusal, Traits


class RequestQueue(AnySeat):
    """What every first-come scheduler holds; see scheduler.py for what the methods promise."""

    traits = Traits()

    def __init__(self) -> None:
        # ordered, so that one can be taken out of the middle at no cost
        self._queue: OrderedDict[InferenceRequest, None] = OrderedDict()

    def enqueue(self, request: InferenceRequest, now_ns: int) -> None:
        self._queue[request] = None

    def requeue(self, request: InferenceRequest, now_ns: int) -> None:
        self.enqueue(request, now_ns)

    def wants(self, seat: int) -> bool:
        return bool(self._queue)

    def head(self) -> InferenceRequest | None:
        return next(iter(self._queue), None)

    def withdraw(self, request: InferenceRequest) -> bool:
        if request not in self._queue:
            return False
        del self._queue[request]
        return True

    def withdraw_all(self) -> list[InferenceRequest]:
        withdrawn = list(self._queue)
        self._queue.clear()
        return withdrawn

    def next_expiry_ns(self) -> int:
        return 0

    def expire(self, now_ns: int) -> Sequence[Refusal]:
        return ()

    def pending(self) -> int:
        return len(self._queue)
