"""Responses in the order of the requests, for a model whose instances may overtake each other. Pure.

A request gets its place in the line when it is handed out to run, in the place of its sender: what never runs (refused,
late, cancelled in the queue) is answered at once and holds up nobody, as in the real server. Responses of the first in
the line pass; those of the others wait until all before them have ended. Every request that is handed out ends, so
nothing waits for ever that the model does not keep waiting.

Responses come from any thread. There is no lock, for whoever sends must never wait: of the threads that find something
to pass on, one does it for all. Two things make that safe: appending to and taking from a deque is atomic, and who has
passed things on looks again after it has given up the task.
"""

from collections import deque
from collections.abc import Iterable

from atoll.request import InferenceRequest, InferenceResponse, ResponseSender


class ResponseOrder:
    """The line of one model version."""

    def __init__(self) -> None:
        self._line: deque[_InOrder] = deque()  # in the order of handing out, from the first that has not ended
        self._task: deque[None] = deque((None,))  # empty while a thread passes things on

    def admit(self, requests: Iterable[InferenceRequest]) -> None:
        """These run now, in this order. One that is executed again keeps its place. One thread at a time."""
        for request in requests:
            sender = request.sender
            if isinstance(sender, _InOrder) and sender.order is self:
                continue
            place = _InOrder(self, sender)
            self._line.append(place)
            request.sender = place

    def waiting(self) -> int:
        """How many have a place in the line."""
        return len(self._line)

    def pass_on(self) -> None:
        """Send what may be sent."""
        while self._something_to_send():
            try:
                self._task.popleft()
            except IndexError:
                return  # who has it looks again
            try:
                self._send_all()
            finally:
                self._task.append(None)

    def _something_to_send(self) -> bool:
        try:
            return bool(self._line[0].held)
        except IndexError:
            return False

    def _send_all(self) -> None:
        line = self._line
        while self._something_to_send():
            first = line[0]
            response, final = first.held.popleft()
            if final:
                line.popleft()
            first.sender.send(response, final)


class _InOrder:
    """The ResponseSender of a request in the line."""

    __slots__ = ("held", "order", "sender")

    def __init__(self, order: ResponseOrder, sender: ResponseSender):
        self.order = order
        self.sender = sender
        self.held: deque[tuple[InferenceResponse | None, bool]] = deque()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        self.held.append((response, final))
        self.order.pass_on()
