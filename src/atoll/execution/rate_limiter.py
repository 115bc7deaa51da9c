"""The rate limiter of a server: instances of all models share resources, and execute when they have what they need.

The decisions are those of scheduling/rate_limiting.py; here are the lock round them, and the way back to who waits.
"""

import re
import threading
from collections.abc import Callable, Sequence
from time import monotonic_ns

from atoll.config.model_config import ModelRateLimiter
from atoll.errors import InvalidArgumentError
from atoll.execution.clock import Clock
from atoll.scheduling.rate_limiting import GLOBAL, Claim, Resources, Stand, Supply, UnmetNeedError

MODES = ("execution_count", "off")
_FORM = "'<resource_name>:<count>:<device>' or '<resource_name>:<count>'"
_NUMBER = re.compile(r"[0-9]{1,10}")
_MOST = 2**31 - 1


def parse_supplies(mode: str, options: Sequence[str]) -> list[Supply] | None:
    """Those of --rate-limit-resource; None where there is none. As in the real server, what is said first of a resource
    stands. Raises InvalidArgumentError, for a `mode` of --rate-limit that does not exist too.
    """
    if mode not in MODES:
        raise InvalidArgumentError(f"rate_limit is '{mode}' but must be one of {', '.join(MODES)}")
    found: dict[tuple[str, int | None], Supply] = {}
    for option in options:
        name, *numbers = option.split(":")
        count, *device = (one.strip() for one in numbers) if len(numbers) in (1, 2) else ("", "")
        for number in (count, *device):
            if not _NUMBER.fullmatch(number) or int(number) > _MOST:
                raise InvalidArgumentError(
                    f"--rate-limit-resource option format is {_FORM}. Got {option}: a name, and whole numbers from 0 "
                    f"to {_MOST}"
                )
        if not name.strip():
            raise InvalidArgumentError(f"--rate-limit-resource option format is {_FORM}. Got {option}: it has no name")
        supply = Supply(name.strip(), int(count), int(device[0]) if device else None)
        found.setdefault((supply.name, supply.device), supply)
    return list(found.values()) or None


class RateLimiter:
    """Thread-safe. `supplies`: see Resources. What waits is told on the clock's thread."""

    def __init__(self, clock: Clock, supplies: Sequence[Supply] | None = None):
        self._clock = clock
        self._lock = threading.Lock()
        self._resources = Resources(supplies)
        self._permits: dict[Claim, InstancePermit] = {}

    def permit(self, config: ModelRateLimiter | None, device: int = 0) -> "InstancePermit":
        """Of one instance of a group, on its device: 0 for what runs on the CPU. None: it needs nothing, and has
        priority 1. It takes part until `close`.

        Raises InvalidArgumentError, with the real server's text, where it needs more than there is.
        """
        config = config or ModelRateLimiter()
        needs = {
            (one.name, GLOBAL if one.global_ else device): one.count for one in config.resources
        }  # of those with one name the last one stands
        claim = Claim(needs, config.priority)
        with self._lock:
            try:
                self._resources.add(claim)
            except UnmetNeedError as error:
                raise InvalidArgumentError(str(error)) from None
            permit = self._permits[claim] = InstancePermit(self, claim)
        return permit

    # ---- of the permits

    def ask(self, claim: Claim, on_granted: Callable[[], None]) -> bool:
        with self._lock:
            if claim not in self._permits:
                return False
            if claim.stand is Stand.AWAY:
                self._permits[claim].on_granted = on_granted
                self._tell(self._resources.ask(claim), claim)
            return claim.stand is Stand.HOLDS

    def give_back(self, claim: Claim) -> None:
        with self._lock:
            self._tell(self._resources.give_back(claim))

    def executed(self, claim: Claim, on_granted: Callable[[], None] | None) -> None:
        with self._lock:
            again = on_granted is not None and claim in self._permits
            if on_granted is not None and again:
                self._permits[claim].on_granted = on_granted
            self._tell(self._resources.executed(claim, again), claim)

    def close(self, claim: Claim) -> None:
        with self._lock:
            self._permits.pop(claim, None)
            self._tell(self._resources.remove(claim))

    def _tell(self, granted: Sequence[Claim], asker: Claim | None = None) -> None:
        """Those who may execute now. Who asks finds out by himself."""
        for claim in granted:
            if claim is not asker:
                self._clock.at(monotonic_ns(), self._permits[claim].granted)


class InstancePermit:
    """A Permit (permit.py)."""

    __slots__ = ("_claim", "_limiter", "on_granted")

    def __init__(self, limiter: RateLimiter, claim: Claim):
        self._limiter = limiter
        self._claim = claim
        self.on_granted: Callable[[], None] | None = None

    @property
    def turn(self) -> int:
        return self._claim.turn

    def take(self, on_granted: Callable[[], None]) -> bool:
        return self._limiter.ask(self._claim, on_granted)

    def give_back(self) -> None:
        self._limiter.give_back(self._claim)

    def executed(self, on_granted: Callable[[], None] | None) -> None:
        self._limiter.executed(self._claim, on_granted)

    def close(self) -> None:
        self._limiter.close(self._claim)
        self.on_granted = None  # which leads to the pool

    def granted(self) -> None:
        """On the clock's thread: the resources have become its own."""
        tell = self.on_granted
        if tell is not None:
            tell()
