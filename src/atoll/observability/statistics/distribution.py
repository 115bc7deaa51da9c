"""How durations are distributed: counted in buckets so narrow that percentiles can be read from them, and so placed
that the wider buckets of a Prometheus histogram are sums of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

_STEPS: Final = (10, 11, 12.5, 14, 16, 18, 20, 22.5, 25, 28, 32, 36, 40, 45, 50, 56, 63, 71, 80, 90)
NS_BOUNDS: Final = (*[int(step * 10**power) for power in range(2, 10) for step in _STEPS], 10**11)
"""Upper bounds, in nanoseconds, from 1 us to 100 s: twenty to a decade, so a percentile is off by a few percent."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """`counts[i]` is how many values were at most `bounds[i]` and more than the bound before; the last one, that of
    those beyond all bounds. `total` is the sum of the values. Bounds and values have the same unit.
    """

    bounds: tuple[int, ...] = NS_BOUNDS
    counts: tuple[int, ...] = (0,) * (len(NS_BOUNDS) + 1)
    total: int = 0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self, bounds: Iterable[int]) -> list[int]:
        """How many values were at most each of these, which are among the distribution's own bounds."""
        sums = list(accumulate(self.counts))
        places = [bisect_left(self.bounds, bound) for bound in bounds]
        return [sums[place] for place in places]

    def quantile(self, part: float) -> float:
        """The value that this part of all values does not exceed, such as 0.99; NaN where there are none."""
        return self.quantiles((part,))[0]

    def quantiles(self, parts: Iterable[float]) -> list[float]:
        """The same for several parts, for little more than the price of one."""
        sums = list(accumulate(self.counts))
        return [self._at(part, sums) if sums[-1] else math.nan for part in parts]

    def _at(self, part: float, sums: list[int]) -> float:
        if not 0 <= part <= 1:
            raise AssertionError("a part is between 0 and 1. This is a bug")
        wanted = part * sums[-1]
        place = bisect_left(sums, max(wanted, 0.5))  # the first value's bucket, at least
        if place == len(self.bounds):
            return float(self.bounds[-1])
        low, below = (self.bounds[place - 1], sums[place - 1]) if place else (0, 0)
        return low + (self.bounds[place] - low) * max(wanted - below, 0) / self.counts[place]

    def since(self, earlier: Self) -> Self:
        """What was counted after `earlier`, an older state of the same distribution."""
        return type(self)(
            self.bounds,
            tuple([now - then for now, then in zip(self.counts, earlier.counts, strict=True)]),
            self.total - earlier.total,
        )


NO_VALUES: Final = Distribution()
"""Of durations, before there were any."""


def bounds_with(own: Iterable[int]) -> tuple[int, ...]:
    """The usual bounds, in nanoseconds, and these: of a histogram whose buckets somebody has chosen."""
    return tuple(sorted({*NS_BOUNDS, *own}))
