"""The summaries of a model version: quantiles of its last minute's durations, as Triton has them. Microseconds."""

from typing import Final

from atoll.observability.metrics.labels import ModelLabels
from atoll.observability.metrics.settings import Quantiles
from atoll.observability.metrics.text_format import number
from atoll.observability.statistics.summaries import RecentDurations

SUMMARIES: Final = (
    (
        "nv_inference_request_summary_us",
        "Summary of inference request duration in microseconds (includes cached requests)",
        "request",
    ),
    (
        "nv_inference_queue_summary_us",
        "Summary of inference queuing duration in microseconds (includes cached requests)",
        "queue",
    ),
    (
        "nv_inference_compute_input_summary_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        "compute_input",
    ),
    (
        "nv_inference_compute_infer_summary_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        "compute_infer",
    ),
    (
        "nv_inference_compute_output_summary_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        "compute_output",
    ),
)
"""Name, description, and which of SummaryStatistics it is."""

CACHE_SUMMARIES: Final = (
    (
        "nv_cache_hit_summary_per_model",
        "Summary of cache hit counts/durations per model, in microseconds.",
        "cache_hit",
    ),
    (
        "nv_cache_miss_summary_per_model",
        "Summary of cache miss counts/durations per model, in microseconds.",
        "cache_miss",
    ),
)
"""The same, of models that enable the response cache."""


def summary_lines(family: str, found: RecentDurations, quantiles: Quantiles, labels: ModelLabels) -> str:
    """Count and sum are of all that ever came; the quantiles NaN where nothing came in the last minute."""
    shown = labels.all
    lines = [
        f'{family}{{{shown},quantile="{number(part)}"}} {number(round(found.lately.quantile(part) / 1000, 3))}\n'
        for part, _ in quantiles
    ]
    total = found.lately.total // 1000
    return f"{family}_count{{{shown}}} {found.count}\n{family}_sum{{{shown}}} {total}\n{''.join(lines)}"
