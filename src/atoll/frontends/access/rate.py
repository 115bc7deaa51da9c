"""So many requests a second, and so many at once after a pause: a token bucket. No clock and no lock of its own."""

from dataclasses import dataclass

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`burst` requests may come at once; after that `requests_per_second`."""

    requests_per_second: float
    burst: int


class TokenBucket:
    """Full at first."""

    __slots__ = ("_full_ns", "_spacing_ns", "_tolerance_ns")

    def __init__(self, limit: RateLimit):
        self._spacing_ns = max(1, round(_SECOND_NS / limit.requests_per_second))
        self._tolerance_ns = self._spacing_ns * limit.burst
        self._full_ns = -(2**63)  # when it will be full again if nobody takes anything

    def take(self, now_ns: int) -> int:
        """0: a request may go on. Otherwise in how many ns the next one may; nothing was taken."""
        full_ns = max(self._full_ns, now_ns) + self._spacing_ns
        early_ns = full_ns - now_ns - self._tolerance_ns
        if early_ns > 0:
            return early_ns
        self._full_ns = full_ns
        return 0
