"""Which queued requests run together, and when: Triton's dynamic batching rule. Pure: no thread, no clock.

The rule, as the real server shows it: requests are taken in order while their sizes add up to at most the maximum and
their shapes agree. Within the queue delay the largest preferred size that can be made runs at once, and so does a
batch that cannot grow: because it is as large as the largest preferred size (the maximum, where none are preferred),
or because the next request does not fit. Anything else waits until the oldest request has waited the delay, then all
that fits runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from atoll.scheduling.scheduler import WaitUntil


@dataclass(frozen=True, slots=True)
class BatchRules:
    """From the model's configuration; sizes in items, the delay in nanoseconds."""

    max_batch_size: int
    preferred_sizes: frozenset[int] = frozenset()
    max_queue_delay_ns: int = 0
    largest_preferred: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "largest_preferred", max(self.preferred_sizes, default=self.max_batch_size))


class Queued(Protocol):
    """What the rule looks at in a request."""

    @property
    def batch_size(self) -> int: ...
    @property
    def batch_key(self) -> object: ...


def form_batch(queue: Iterable[Queued], rules: BatchRules, oldest_ns: int, now_ns: int) -> int | WaitUntil:
    """How many requests from the head of a non-empty `queue` run now, or until when to wait for more.

    `oldest_ns` is when the head was queued. A request larger than the maximum never gets here: it is refused at the
    door.
    """
    largest, limit, delay_ns = rules.largest_preferred, rules.max_batch_size, rules.max_queue_delay_ns
    preferred_sizes = rules.preferred_sizes
    size = count = 0
    preferred = None  # how many requests make the best preferred size so far
    saturated = False
    key: object = None
    for request in queue:
        grown = size + request.batch_size
        if count == 0:
            key = request.batch_key
        else:
            if delay_ns and preferred is None and grown > largest:
                preferred = count
            if grown > limit or request.batch_key != key:
                saturated = True
                break
        size = grown
        count += 1
        if size in preferred_sizes:
            preferred = count
    delay_is_over = delay_ns == 0 or now_ns - oldest_ns >= delay_ns
    if preferred is not None and (delay_ns == 0 or not delay_is_over):
        return preferred
    if saturated or size >= largest or delay_is_over:
        return count
    return WaitUntil(oldest_ns + delay_ns)
