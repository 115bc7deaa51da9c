"""The families that every model version has its lines in: Triton's, and ours.

Source of the names and help texts that begin with nv_: the real server's own metrics page.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from atoll.observability.metrics.labels import ModelLabels
from atoll.observability.metrics.model_histograms import batch_size_lines, duration_lines
from atoll.observability.metrics.model_summaries import CACHE_SUMMARIES, SUMMARIES, summary_lines
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.failure_reasons import FAILURE_REASONS
from atoll.observability.statistics.measures import BATCH_SIZE, COMPUTE, FIRST_RESPONSE, QUEUE, REQUEST
from atoll.observability.statistics.model import ModelStatistics


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """`lines`: those of one version, "" where it has none."""

    name: str
    description: str
    kind: str
    lines: Callable[[ModelStatistics, ModelLabels, MetricsSettings], str]
    wanted: Callable[[MetricsSettings], bool] = lambda _: True


def model_families(settings: MetricsSettings) -> list[ModelFamily]:
    """Those that the settings want, in the order of the page."""
    return [family for family in FAMILIES if family.wanted(settings)]


def _us(duration: Duration) -> int:
    return duration.ns // 1000


def _latencies(settings: MetricsSettings) -> bool:
    return settings.counter_latencies


def _number(
    name: str,
    description: str,
    read: Callable[[ModelStatistics], int],
    wanted: Callable[[MetricsSettings], bool] = lambda _: True,
) -> ModelFamily:
    return ModelFamily(
        name, description, "counter", lambda model, labels, _: f"{name}{{{labels.all}}} {read(model)}\n", wanted
    )


def _duration(name: str, description: str, read: Callable[[ModelStatistics], Duration]) -> ModelFamily:
    return _number(name, description, lambda model: _us(read(model)), _latencies)


def _of_cache(name: str, description: str, read: Callable[[ModelStatistics], int]) -> ModelFamily:
    """Of models that enable the response cache, whether the server has one or not."""
    number = _number(name, description, read, _latencies)
    return replace(
        number, lines=lambda model, labels, settings: number.lines(model, labels, settings) if model.cached else ""
    )


_FAILURE: Final = "nv_inference_request_failure"
_REFUSED: Final = "atoll_inference_request_refused_count"
_LOAD: Final = "nv_model_load_duration_secs"


def _failures(model: ModelStatistics, labels: ModelLabels, _: MetricsSettings) -> str:
    counts = model.failures
    return "".join(
        [
            f'{_FAILURE}{{{labels.before},reason="{reason}",{labels.version}}} {counts.get(reason, 0)}\n'
            for reason in FAILURE_REASONS
        ]
    )


def _refusals(model: ModelStatistics, labels: ModelLabels, _: MetricsSettings) -> str:
    return "".join(
        [
            f'{_REFUSED}{{{labels.before},reason="{reason}",{labels.version}}} {count}\n'
            for reason, count in sorted(model.refusals.items())
        ]
    )


def _load(model: ModelStatistics, labels: ModelLabels, _: MetricsSettings) -> str:
    return f"{_LOAD}{{{labels.all}}} {model.load_ns / 1e9}\n" if model.load_ns else ""


def _first_responses(model: ModelStatistics, labels: ModelLabels, _: MetricsSettings) -> str:
    found = model.first_responses
    return "" if found is None else duration_lines(FIRST_RESPONSE, found, model, labels)


def _summary(name: str, stage: str, model: ModelStatistics, labels: ModelLabels, settings: MetricsSettings) -> str:
    if model.summaries is None or (stage.startswith("cache") and not model.cached):
        return ""
    return summary_lines(name, getattr(model.summaries, stage), settings.summary_quantiles, labels)


FAMILIES: Final[tuple[ModelFamily, ...]] = (
    _number(
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        lambda model: model.success.count,
    ),
    ModelFamily(_FAILURE, "Number of failed inference requests, all batch sizes", "counter", _failures),
    _number(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda model: model.inference_count,
    ),
    _number(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda model: model.execution_count,
    ),
    _duration(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda model: model.success,
    ),
    _duration(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda model: model.queue,
    ),
    _duration(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda model: model.compute_input,
    ),
    _duration(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda model: model.compute_infer,
    ),
    _duration(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda model: model.compute_output,
    ),
    _of_cache(
        "nv_cache_num_hits_per_model",
        "Number of cache hits per model",
        lambda model: model.cache_hit.count,
    ),
    _of_cache(
        "nv_cache_hit_duration_per_model",
        "Total cache hit duration per model, in microseconds",
        lambda model: _us(model.cache_hit),
    ),
    _of_cache(
        "nv_cache_num_misses_per_model",
        "Number of cache misses per model",
        lambda model: model.cache_miss.count,
    ),
    _of_cache(
        "nv_cache_miss_duration_per_model",
        "Total cache miss (insert+lookup) duration per model, in microseconds",
        lambda model: _us(model.cache_miss),
    ),
    ModelFamily(_LOAD, "Seconds that loading the model took", "gauge", _load),
    ModelFamily(
        FIRST_RESPONSE,
        "Duration from request to first response in milliseconds",
        "histogram",
        _first_responses,
        lambda settings: settings.histogram_latencies,
    ),
    *(
        ModelFamily(
            name, description, "summary", partial(_summary, name, stage), lambda settings: settings.summary_latencies
        )
        for name, description, stage in (*SUMMARIES, *CACHE_SUMMARIES)
    ),
    ModelFamily(
        REQUEST,
        "How long successful requests took in all, in seconds (not in Triton)",
        "histogram",
        lambda model, labels, _: duration_lines(REQUEST, model.request_durations, model, labels),
    ),
    ModelFamily(
        QUEUE,
        "How long successful requests waited to be executed, in seconds (not in Triton)",
        "histogram",
        lambda model, labels, _: duration_lines(QUEUE, model.queue_durations, model, labels),
    ),
    ModelFamily(
        COMPUTE,
        "How long successful requests were executed, in seconds, without those that the response cache answered "
        "(not in Triton)",
        "histogram",
        lambda model, labels, _: duration_lines(COMPUTE, model.compute_durations, model, labels),
    ),
    ModelFamily(
        BATCH_SIZE,
        "How many items the executed batches had (not in Triton)",
        "histogram",
        lambda model, labels, _: batch_size_lines(model, labels),
    ),
    ModelFamily(
        _REFUSED,
        "Number of requests refused before they were queued, by the error's code (not in Triton)",
        "counter",
        _refusals,
    ),
    _number(
        "atoll_inference_exec_by_submitter_count",
        "Number of model executions driven by the thread that submitted a request (not in Triton)",
        lambda model: model.driven_by_submitter,
    ),
)
"""What changes only where something was recorded."""

PENDING: Final = (
    "nv_inference_pending_request_count",
    "Instantaneous number of pending requests awaiting execution per-model.",
)
IN_FLIGHT: Final = (
    "atoll_inference_in_flight_request_count",
    "Instantaneous number of requests per-model that are queued or executing (not in Triton)",
)
"""Gauges of this moment."""
