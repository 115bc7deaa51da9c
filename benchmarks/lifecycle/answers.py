"""What clients got while a model was replaced again and again: right, wrong or failed, and how late. Pure.

Each published file multiplies by a factor of its own, 1, 2, 3 and so on, so an answer tells which file it came from.
Times are nanoseconds of the one monotonic clock that all processes of a machine share.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.readings import percentile

Kind = Literal["load", "reload", "instances"]

# What a client writes in place of a factor.
FAILED, GARBLED = 0, -1


@dataclass(frozen=True, slots=True)
class Change:
    """One call to load: after it the model multiplies by `factor`."""

    kind: Kind
    factor: int
    began_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time; a request belongs to the one in which it was sent."""

    name: str
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Tally:
    """The requests of one phase. Wrong: garbled, or of a model that was not served then. Latencies in us."""

    phase: str
    requests: int
    failed: int
    wrong: int
    p50_us: float
    p99_us: float
    max_us: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def tally(answers: np.ndarray, phase: Phase, changes: Sequence[Change]) -> Tally:
    """`answers`: INT64[n,3], of each request when it was sent, when it was answered, and the factor of its answer.

    `changes` ascend in time and in factor, and begin with the first load.
    """
    inside = answers[(answers[:, 0] >= phase.began_ns) & (answers[:, 0] < phase.ended_ns)]
    ends = [change.ended_ns for change in changes]
    begins = [change.began_ns for change in changes]
    factors = [change.factor for change in changes]
    failed = wrong = 0
    for sent, received, factor in inside.tolist():
        if factor == FAILED:
            failed += 1
            continue
        # At least what was loaded before it was sent, at most what was being loaded when it was answered.
        oldest, newest = bisect_right(ends, sent) - 1, bisect_left(begins, received) - 1
        wrong += not (oldest >= 0 and factors[oldest] <= factor <= factors[newest])
    latencies = np.sort((inside[:, 1] - inside[:, 0])[inside[:, 2] != FAILED] / 1e3).tolist() or [float("nan")]
    return Tally(
        phase.name,
        len(inside),
        failed,
        wrong,
        percentile(latencies, 50),
        percentile(latencies, 99),
        latencies[-1],
    )


def seen(answers: np.ndarray) -> set[int]:
    """The factors that any answer had."""
    return {int(factor) for factor in np.unique(answers[:, 2])} - {FAILED, GARBLED}
