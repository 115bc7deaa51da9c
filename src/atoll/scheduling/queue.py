"""The requests that wait for one model version, in the order of their arrival."""

from collections import deque

from atoll.request import InferenceRequest


class RequestQueue:
    """What every first-come scheduler holds; see scheduler.py for what the methods promise."""

    def __init__(self) -> None:
        self._queue: deque[InferenceRequest] = deque()

    def enqueue(self, request: InferenceRequest) -> None:
        self._queue.append(request)

    def head(self) -> InferenceRequest | None:
        return self._queue[0] if self._queue else None

    def withdraw_all(self) -> list[InferenceRequest]:
        withdrawn = list(self._queue)
        self._queue.clear()
        return withdrawn

    def pending(self) -> int:
        return len(self._queue)
