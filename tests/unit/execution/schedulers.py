"""Schedulers and permits that do as a test says."""

from collections.abc import Callable, Sequence

from atoll.errors import UnavailableError
from atoll.request import InferenceRequest
from atoll.scheduling.direct import DirectScheduler
from atoll.scheduling.scheduler import NextBatch, Refusal, Traits


class Patience(DirectScheduler):
    """Each request has its parameter `patience_ns`, and is refused when it has waited so long."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(expires=True)

    def next_expiry_ns(self) -> int:
        return min(map(_late_ns, self._queue), default=0)

    def expire(self, now_ns: int) -> Sequence[Refusal]:
        late = [request for request in self._queue if _late_ns(request) <= now_ns]
        for request in late:
            del self._queue[request]
        return [Refusal(request, UnavailableError("it has waited too long")) for request in late]


def _late_ns(request: InferenceRequest) -> int:
    assert request.parameters is not None
    return request.timeline.queue_start + int(request.parameters["patience_ns"])


class Seated(DirectScheduler):
    """Each request has its parameter `seat`, runs there alone, and after the one before has `finished`."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(follows=True, by_seat=True)
        self.seats: set[int] = set()
        self.busy: set[int] = set()
        self.ended: list[tuple[int, int]] = []  # seat, requests

    def seat_added(self, seat: int) -> None:
        self.seats.add(seat)

    def seat_removed(self, seat: int) -> None:
        self.seats.remove(seat)

    def wants(self, seat: int) -> bool:
        return seat not in self.busy and self._of(seat) is not None

    def _of(self, seat: int) -> InferenceRequest | None:
        return next((one for one in self._queue if one.parameters and one.parameters["seat"] == seat), None)

    def next_batch(self, now_ns: int, seat: int) -> NextBatch:
        request = None if seat in self.busy else self._of(seat)
        if request is None:
            return None
        self.busy.add(seat)
        del self._queue[request]
        return [request]

    def finished(self, requests: Sequence[InferenceRequest], seat: int) -> None:
        self.busy.remove(seat)
        self.ended.append((seat, len(requests)))


class Ticket:
    """One of several permits for a single resource; those that wait get it in turn."""

    holder: "Ticket | None"

    def __init__(self, others: "list[Ticket]"):
        self.others = others
        others.append(self)
        self.waiting: Callable[[], None] | None = None
        self.holds = False
        self.closed = False
        self.turn = 0

    def take(self, on_granted: Callable[[], None]) -> bool:
        assert not self.closed
        if not self.holds and any(one.holds for one in self.others):
            self.waiting = on_granted
            return False
        self.holds = True
        return True

    def give_back(self) -> None:
        self.waiting = None
        self.holds = False

    def executed(self, on_granted: Callable[[], None] | None) -> None:
        self.give_back()
        self.waiting = on_granted
        self.turn += 1

    def grant_next(self) -> "Ticket | None":
        """What a limiter does on its clock: somebody who waits gets what is free."""
        if any(one.holds for one in self.others):
            return None
        for one in self.others:
            if one.waiting is not None:
                told, one.waiting = one.waiting, None
                one.holds = True
                told()
                return one
        return None

    def close(self) -> None:
        self.give_back()
        self.closed = True
