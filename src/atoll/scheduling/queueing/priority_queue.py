"""Queued requests by priority level, each level under a policy of its own. Pure: time is an argument.

The order is that of the levels, 1 first, and of arrival within a level; those of a level that are late, where its
policy delays them, come behind its others. So it is in the real server.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from atoll.request import InferenceRequest
from atoll.scheduling.queueing.due_times import DueTimes
from atoll.scheduling.queueing.queue_policy import QueuePolicy, too_many

_KEPT = 64  # levels that stay when they are empty; of a million, as many as are in use


class _Level:
    """One level's requests, in two rows."""

    __slots__ = ("delayed", "in_time", "number", "policy")

    def __init__(self, number: int, policy: QueuePolicy):
        self.number = number
        self.policy = policy
        self.in_time: OrderedDict[InferenceRequest, None] = OrderedDict()
        self.delayed: OrderedDict[InferenceRequest, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.in_time) + len(self.delayed)


class _Place:
    """Where a request stands; without one when it has left. What knows of places forgets them later, and must not keep
    the tensors of requests until then.
    """

    __slots__ = ("level", "request", "row")

    def __init__(self, request: InferenceRequest, level: _Level):
        self.request: InferenceRequest | None = request
        self.level = level
        self.row = level.in_time


def _is_taken(place: _Place) -> bool:
    return place.request is not None


class PriorityQueue:
    """`levels`: how many there are, 0 as good as 1. A request that names none of them is of the `default_level`.
    `policies`: by level, where a level has its own.
    """

    def __init__(
        self,
        default_policy: QueuePolicy,
        *,
        levels: int = 0,
        default_level: int = 0,
        policies: Mapping[int, QueuePolicy] | None = None,
    ):
        self._default_policy = default_policy
        self._count = levels
        self._default_level = default_level
        self._policies = dict(policies or {})
        self._levels: dict[int, _Level] = {}
        self._order: list[int] = []  # the numbers of these, sorted
        self._places: dict[InferenceRequest, _Place] = {}
        self._to_refuse: DueTimes[_Place] = DueTimes(_is_taken)
        self._to_delay: DueTimes[_Place] = DueTimes(_is_taken)
        self._late: list[InferenceRequest] = []  # taken out, and not handed out yet
        self._told_ns = 0

    @property
    def refuses(self) -> bool:
        """Whether requests may come to be refused because time passes."""
        return any(policy.refuses for policy in (self._default_policy, *self._policies.values()))

    def level_of(self, request: InferenceRequest) -> int:
        """Its priority, if there is such a level."""
        priority = request.priority
        return priority if 0 < priority <= self._count else self._default_level

    def push(self, request: InferenceRequest, now_ns: int) -> None:
        """Raises OverloadedError where its level is full."""
        number = self.level_of(request)
        size = self._policy(number).max_size
        if size:
            level = self._levels.get(number)
            if level is not None and len(level) >= size:
                self.pass_time(now_ns)  # who is late needs no place
                if len(level) >= size:
                    raise too_many(request)
        self.push_back(request, now_ns)

    def push_back(self, request: InferenceRequest, now_ns: int) -> None:
        """The same for one that was taken once already: it is not refused."""
        number = self.level_of(request)
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level(number, self._policy(number))
            insort(self._order, number)
        place = self._places[request] = _Place(request, level)
        level.in_time[request] = None
        due_ns = level.policy.due_ns(request, now_ns)
        if due_ns:
            if level.policy.delays:
                self._to_delay.add(due_ns, place, len(self._places))
            else:
                self._to_refuse.add(due_ns, place, len(self._places))
                if not self._told_ns or due_ns < self._told_ns:
                    self._told_ns = due_ns

    def _policy(self, number: int) -> QueuePolicy:
        return self._policies.get(number, self._default_policy)

    def remove(self, request: InferenceRequest) -> bool:
        """Take it out; False where it is not in the queue (any more)."""
        place = self._places.pop(request, None)
        if place is None:
            return False
        place.request = None
        del place.row[request]
        level = place.level
        if not level and len(self._levels) > _KEPT:
            del self._levels[level.number]
            self._order.remove(level.number)
        return True

    def pass_time(self, now_ns: int) -> None:
        """Put aside, or behind the others, who is late by now."""
        for place in self._to_refuse.due(now_ns):
            if (request := place.request) is not None:
                self.remove(request)
                self._late.append(request)
        for place in self._to_delay.due(now_ns):
            if (request := place.request) is not None:
                del place.row[request]
                place.row = place.level.delayed
                place.row[request] = None

    def take_late(self) -> list[InferenceRequest]:
        """Hand out those that were put aside; `pass_time` comes first."""
        late, self._late = self._late, []
        self._told_ns = self._to_refuse.next_ns()
        return late

    def next_late_ns(self) -> int:
        """When `pass_time` and `take_late` may have something to do; 0: never, as things are. A moment that has been
        told stands until it has come, even if its request has gone: nobody needs to set an alarm anew for each request.
        """
        return 1 if self._late else self._told_ns

    def clear(self) -> list[InferenceRequest]:
        """Take all out, those that were put aside too."""
        withdrawn = [*self._late, *self]
        for level in self._levels.values():
            level.in_time.clear()
            level.delayed.clear()
        self._places.clear()
        self._to_refuse.clear()
        self._to_delay.clear()
        self._late = []
        return withdrawn

    def __iter__(self) -> Iterator[InferenceRequest]:
        for number in self._order:
            level = self._levels[number]
            yield from level.in_time
            yield from level.delayed

    def __len__(self) -> int:
        return len(self._places)
