"""How long a request may wait in a queue, and how many may: one level's rules, from the model's configuration. Pure."""

from dataclasses import dataclass

from atoll.config.model_config import ModelQueuePolicy
from atoll.errors import OverloadedError, UnavailableError
from atoll.request import InferenceRequest

# For ever, as a number that clocks and conditions still take: a configuration may say 2**64 - 1 microseconds.
LONGEST_NS = 100 * 365 * 24 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """`timeout_ns` 0: no timeout; `max_size` 0: any number. `delays`: a late request goes behind those that are not
    late; without it, a late request is refused.
    """

    timeout_ns: int = 0
    delays: bool = False
    allow_override: bool = False
    max_size: int = 0

    @property
    def refuses(self) -> bool:
        """Whether it ever refuses a request that has waited too long."""
        return self.timeout_ns > 0 and not self.delays

    def due_ns(self, request: InferenceRequest, now_ns: int) -> int:
        """When a request that is queued now is late; 0: never. Its own timeout counts where the policy allows that and
        it is shorter than the default, so that it has no effect without one, as in the real server.
        """
        timeout_ns = self.timeout_ns
        if not timeout_ns:
            return 0
        if self.allow_override and 0 < request.timeout_us * 1000 < timeout_ns:
            timeout_ns = request.timeout_us * 1000
        return now_ns + timeout_ns


def read_policy(policy: ModelQueuePolicy | None) -> QueuePolicy:
    """What the configuration says, without what has no effect: nothing limits anything where it says nothing."""
    if policy is None:
        return QueuePolicy()
    if not policy.default_timeout_microseconds:
        return QueuePolicy(max_size=policy.max_queue_size)
    return QueuePolicy(
        timeout_ns=nanoseconds(policy.default_timeout_microseconds),
        delays=policy.timeout_action is ModelQueuePolicy.TimeoutAction.DELAY,
        allow_override=policy.allow_timeout_override,
        max_size=policy.max_queue_size,
    )


def nanoseconds(microseconds: int) -> int:
    """A duration of a configuration, cut where it is beyond what anything can wait."""
    return min(microseconds * 1000, LONGEST_NS)


def too_late() -> UnavailableError:
    """To a request that waited longer than it may; in the real server's words."""
    return UnavailableError("Request timeout expired")


def too_many(request: InferenceRequest) -> OverloadedError:
    """To a request that finds its queue full; in the real server's words."""
    return OverloadedError(f"[request id: {request.id or '<id_unknown>'}] Exceeds maximum queue size")
