"""What has been counted of a model version at one moment, with the meaning and the names of Triton's statistics
extension. Metrics are rendered from the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.observability.statistics.distribution import NO_VALUES, Distribution
from atoll.observability.statistics.durations import NOTHING, Duration
from atoll.observability.statistics.measures import DEFAULT_MEASURES, Measures
from atoll.observability.statistics.responses import ResponseStatistics
from atoll.observability.statistics.summaries import SummaryStatistics


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The executions of one batch size; each count is the number of executions."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """A snapshot. `last_inference_ms` is wall-clock milliseconds since the epoch, 0 before the first inference.

    `inference_count` counts the items of requests that were executed and succeeded, `execution_count` the executions:
    of models that take requests as they are those too that failed. The durations of a batch count once for each of its
    requests, as in Triton. A hit of the response cache counts in `success`, `queue` and `cache_hit` alone; `cached`:
    whether the model's configuration enables that cache. `failures` counts failed requests by reason.
    `response_stats`: of a decoupled model, its responses by their place. `labels` are those that its metrics have
    beside model, version and reason. `load_ns` is how long loading it took; 0: unknown.

    The distributions are of the same requests as `success`, `queue` and the compute durations together. `summaries`:
    what came lately, where the server's settings want it. `refusals` counts the requests that were refused before they
    were queued, by the name of their error's code: they are no failures in Triton's statistics.
    """

    name: str
    version: str
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = NOTHING
    fail: Duration = NOTHING
    queue: Duration = NOTHING
    compute_input: Duration = NOTHING
    compute_infer: Duration = NOTHING
    compute_output: Duration = NOTHING
    cache_hit: Duration = NOTHING
    cache_miss: Duration = NOTHING
    batch_stats: tuple[BatchStatistics, ...] = ()
    failures: dict[str, int] = field(default_factory=dict)
    pending_request_count: int = 0
    in_flight_request_count: int = 0  # queued or executing; not in Triton
    driven_by_submitter: int = 0  # executions that ran on the submitting thread; not in Triton
    labels: Mapping[str, str] = field(default_factory=dict)
    load_ns: int = 0
    cached: bool = False
    response_stats: tuple[ResponseStatistics, ...] = ()
    request_durations: Distribution = NO_VALUES
    queue_durations: Distribution = NO_VALUES
    compute_durations: Distribution = NO_VALUES
    first_responses: Distribution | None = None
    measures: Measures = DEFAULT_MEASURES
    summaries: SummaryStatistics | None = None
    refusals: Mapping[str, int] = field(default_factory=dict)
