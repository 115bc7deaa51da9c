"""Prometheus metrics under Triton's names, rendered from snapshots of the statistics when somebody asks.

Source of names, labels and help texts: the real server's own metrics page.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.devices.cpu_meter import CpuReading
from atoll.errors import ConfigError
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import FAILURE_REASONS, ModelStatistics


class CacheReading(Protocol):
    """What the response cache has counted, of all models together."""

    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def lookup_ns(self) -> int: ...
    @property
    def insertion_ns(self) -> int: ...
    @property
    def utilization(self) -> float:
        """How much of it is in use, from 0 to 1; 0 where it cannot say."""

    @property
    def entries(self) -> int: ...
    @property
    def evictions(self) -> int: ...


class MemoryPoolReading(Protocol):
    """A pool of host memory, and how much of it is in use."""

    @property
    def total_bytes(self) -> int:
        """Its size."""

    @property
    def used_bytes(self) -> int:
        """What is handed out."""


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric of every model version."""

    name: str
    description: str
    value: Callable[[ModelStatistics], int]
    kind: str = "counter"


def _us(duration: Duration) -> int:
    return duration.ns // 1000


_SUCCESS = _Family(
    "nv_inference_request_success",
    "Number of successful inference requests, all batch sizes",
    lambda model: model.success.count,
)
_FAILURE = ("nv_inference_request_failure", "Number of failed inference requests, all batch sizes", "counter")
_FAMILIES = (
    _Family(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda model: model.inference_count,
    ),
    _Family(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda model: model.execution_count,
    ),
    _Family(
        "atoll_inference_exec_by_submitter_count",
        "Number of model executions driven by the thread that submitted a request (not in Triton)",
        lambda model: model.driven_by_submitter,
    ),
    _Family(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda model: _us(model.success),
    ),
    _Family(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda model: _us(model.queue),
    ),
    _Family(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda model: _us(model.compute_input),
    ),
    _Family(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda model: _us(model.compute_infer),
    ),
    _Family(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda model: _us(model.compute_output),
    ),
    _Family(
        "atoll_inference_in_flight_request_count",
        "Instantaneous number of requests per-model that are queued or executing (not in Triton)",
        lambda model: model.in_flight_request_count,
        "gauge",
    ),
    _Family(
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        lambda model: model.pending_request_count,
        "gauge",
    ),
)


_CACHE_FAMILIES = (
    _Family(
        "nv_cache_num_hits_per_model",
        "Number of cache hits per model",
        lambda model: model.cache_hit.count,
    ),
    _Family(
        "nv_cache_hit_duration_per_model",
        "Total cache hit duration per model, in microseconds",
        lambda model: _us(model.cache_hit),
    ),
    _Family(
        "nv_cache_num_misses_per_model",
        "Number of cache misses per model",
        lambda model: model.cache_miss.count,
    ),
    _Family(
        "nv_cache_miss_duration_per_model",
        "Total cache miss (insert+lookup) duration per model, in microseconds",
        lambda model: _us(model.cache_miss),
    ),
)
"""Of the models that enable the response cache, whether the server has one or not."""

_CACHE: tuple[tuple[str, str, Callable[[CacheReading], float]], ...] = (
    ("nv_cache_util", "Cache utilization [0.0 - 1.0]", lambda cache: cache.utilization),
    ("nv_cache_num_entries", "Number of responses stored in response cache", lambda cache: cache.entries),
    ("nv_cache_num_hits", "Number of cache hits in response cache", lambda cache: cache.hits),
    ("nv_cache_num_misses", "Number of cache misses in response cache", lambda cache: cache.misses),
    ("nv_cache_num_lookups", "Number of cache lookups in response cache", lambda cache: cache.hits + cache.misses),
    ("nv_cache_num_evictions", "Number of cache evictions in response cache", lambda cache: cache.evictions),
    (
        "nv_cache_lookup_duration",
        "Total cache lookup duration (hit and miss), in microseconds",
        lambda cache: cache.lookup_ns // 1000,
    ),
    (
        "nv_cache_insertion_duration",
        "Total cache insertion duration, in microseconds",
        lambda cache: cache.insertion_ns // 1000,
    ),
)
_LOAD = ("nv_model_load_duration_secs", "Seconds that loading the model took", "gauge")
_POOL = (
    ("nv_pinned_memory_pool_total_bytes", "Pinned memory pool total memory size, in bytes"),
    ("nv_pinned_memory_pool_used_bytes", "Pinned memory pool used memory size, in bytes"),
)
_CPU = (
    ("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]"),
    ("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes"),
    ("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes"),
)
SERVER_FAMILIES = frozenset(
    [
        *(_SUCCESS.name, _FAILURE[0], _LOAD[0]),
        *(one.name for one in (*_FAMILIES, *_CACHE_FAMILIES)),
        *(name for name, _ in (*_POOL, *_CPU)),
        *(name for name, _, _ in _CACHE),
    ]
)
"""The names that the server's own metrics have on the page."""

_TAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z_]*|")


def metric_labels(metric_tags: Mapping[str, str], namespace: str = "") -> dict[str, str]:
    """What ModelStatistics.labels holds: a model's tags as the real server names them, and its namespace if it has one.

    The underscore before a tag's name keeps it apart from the server's own labels. Raises ConfigError for a name that
    Prometheus could not read.
    """
    for key in metric_tags:
        if not _TAG.fullmatch(key):
            raise ConfigError(
                f"metric_tags: '{key}' cannot be the name of a tag; use letters, digits and underscores, and begin "
                "with a letter or digit"
            )
    labels = {f"_{key}": value for key, value in metric_tags.items()}
    return {**labels, "namespace": namespace} if namespace else labels


def render(
    models: Sequence[ModelStatistics],
    cpu: CpuReading | None = None,
    pool: MemoryPoolReading | None = None,
    cache: CacheReading | None = None,
    settings: MetricsSettings = DEFAULTS,
) -> str:
    """The page, in the Prometheus text format, version 0.0.4."""
    lines: list[str] = []
    _add_family(lines, _SUCCESS, models)
    _add_header(lines, *_FAILURE)
    for model in models:
        lines += [
            f"{_FAILURE[0]}{_labels(model, reason=reason)} {model.failures.get(reason, 0)}"
            for reason in FAILURE_REASONS
        ]
    for family in _FAMILIES:
        if settings.counter_latencies or not family.name.endswith("_duration_us"):
            _add_family(lines, family, models)
    cached = [model for model in models if model.cached]
    for family in _CACHE_FAMILIES if cached else ():
        _add_family(lines, family, cached)
    if cache is not None:
        for name, description, read in _CACHE:
            _add_header(lines, name, description, "gauge")
            lines.append(f"{name} {read(cache)}")
    if any(model.load_ns for model in models):
        _add_header(lines, *_LOAD)
        lines += [f"{_LOAD[0]}{_labels(model)} {model.load_ns / 1e9}" for model in models if model.load_ns]
    if pool is not None:
        for (name, description), size in zip(_POOL, (pool.total_bytes, pool.used_bytes), strict=True):
            _add_header(lines, name, description, "gauge")
            lines.append(f"{name} {size}")
    if cpu is not None:
        readings = cpu.utilization, cpu.memory_total, cpu.memory_used
        for (name, description), value in zip(_CPU, readings, strict=True):
            _add_header(lines, name, description, "gauge")
            lines.append(f"{name} {value}")
    lines.append("")
    return "\n".join(lines)


def _add_family(lines: list[str], family: _Family, models: Iterable[ModelStatistics]) -> None:
    _add_header(lines, family.name, family.description, family.kind)
    lines += [f"{family.name}{_labels(model)} {family.value(model)}" for model in models]


def _add_header(lines: list[str], name: str, description: str, kind: str) -> None:
    lines.append(f"# HELP {name} {description}")
    lines.append(f"# TYPE {name} {kind}")


def _labels(model: ModelStatistics, **own: str) -> str:
    """In the order of their names, as the real server has them."""
    values = {**model.labels, "model": model.name, "version": model.version, **own}
    return "{" + ",".join(f'{key}="{escape_label(values[key])}"' for key in sorted(values)) + "}"


def escape_label(value: str) -> str:
    """A label's value as it stands between quotes on the page."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()  # a lone surrogate must not cost everybody the page
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
