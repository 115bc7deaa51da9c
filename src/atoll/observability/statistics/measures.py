"""What is counted of a model version beyond Triton's statistics, and the buckets in which its histograms are shown: as
its configuration (`model_metrics`) and the server's settings want it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from atoll.config.model_config import ModelConfig
from atoll.errors import ConfigError

MAX_BUCKETS: Final = 200  # of a histogram: each is a line of the page for each model version

REQUEST: Final = "atoll_inference_request_duration_seconds"
QUEUE: Final = "atoll_inference_queue_duration_seconds"
COMPUTE: Final = "atoll_inference_compute_duration_seconds"
BATCH_SIZE: Final = "atoll_inference_batch_size"
FIRST_RESPONSE: Final = "nv_inference_first_response_histogram_ms"
UNITS: Final[Mapping[str, int]] = {REQUEST: 10**9, QUEUE: 10**9, COMPUTE: 10**9, BATCH_SIZE: 1, FIRST_RESPONSE: 10**6}
"""The histograms by their families' names, and what their unit is in what is counted: nanoseconds, items."""

_SECONDS: Final = (100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000)  # in us
_LATENCIES: Final = (*(us * 1000 for us in _SECONDS), 10**9, 25 * 10**8, 5 * 10**9, 10**10, 25 * 10**9)
DEFAULT_BUCKETS: Final[Mapping[str, tuple[int, ...]]] = {
    REQUEST: _LATENCIES,
    QUEUE: _LATENCIES,
    COMPUTE: _LATENCIES,
    BATCH_SIZE: tuple(2**power for power in range(9)),
    FIRST_RESPONSE: tuple(ms * 10**6 for ms in (100, 500, 2000, 5000)),
}
"""Upper bounds of the buckets of each, the one without bound left out."""


@dataclass(frozen=True, slots=True)
class Measures:
    """`buckets`: upper bounds by family, in what is counted. `summaries`: also what was lately, for quantiles.
    `first_responses`: how long after it came a request's first response went.
    """

    buckets: Mapping[str, tuple[int, ...]]
    summaries: bool = False
    first_responses: bool = False


DEFAULT_MEASURES: Final = Measures(DEFAULT_BUCKETS)


def measures(config: ModelConfig, *, summaries: bool = False, first_responses: bool = False) -> Measures:
    """Of a model. Families that are none of ours are passed over, as in Triton. `first_responses`: where the model
    is decoupled.

    Raises ConfigError for buckets that are not ascending numbers above zero, or too many.
    """
    buckets = dict(DEFAULT_BUCKETS)
    for control in config.model_metrics.metric_control if config.model_metrics is not None else ():
        family = control.metric_identifier.family if control.metric_identifier is not None else ""
        if family in UNITS and control.histogram_options is not None and control.histogram_options.buckets:
            buckets[family] = _counted(family, control.histogram_options.buckets)
    return Measures(buckets, summaries, first_responses and config.decoupled)


def _counted(family: str, bounds: Sequence[float]) -> tuple[int, ...]:
    finite = bounds[:-1] if bounds[-1] == math.inf else bounds  # the last bucket has no bound anyway
    counted = tuple(round(bound * UNITS[family]) if 0 < bound < math.inf else 0 for bound in finite)
    if not counted or counted[0] < 1 or any(low >= high for low, high in pairwise(counted)):
        raise ConfigError(
            f"model_metrics: the buckets of {family} are {list(bounds)} but must be numbers above zero, each greater "
            "than the one before"
        )
    if len(counted) > MAX_BUCKETS:
        raise ConfigError(f"model_metrics: {family} has {len(counted)} buckets but may have {MAX_BUCKETS}")
    return counted
