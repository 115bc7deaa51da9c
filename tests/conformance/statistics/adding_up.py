"""What the numbers of one model version must add up to: the statistics in both forms, and the metrics page."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import Metric
from tests.conformance.statistics.traffic import Sent

DURATIONS = {
    "nv_inference_request_duration_us": "success",
    "nv_inference_queue_duration_us": "queue",
    "nv_inference_compute_input_duration_us": "compute_input",
    "nv_inference_compute_infer_duration_us": "compute_infer",
    "nv_inference_compute_output_duration_us": "compute_output",
}
HISTOGRAMS = {
    "atoll_inference_request_duration_seconds": ("success",),
    "atoll_inference_queue_duration_seconds": ("queue",),
    "atoll_inference_compute_duration_seconds": ("compute_input", "compute_infer", "compute_output"),
}
SUMMARIES = {
    "nv_inference_request_summary_us": "success",
    "nv_inference_queue_summary_us": "queue",
    "nv_inference_compute_input_summary_us": "compute_input",
    "nv_inference_compute_infer_summary_us": "compute_infer",
    "nv_inference_compute_output_summary_us": "compute_output",
    "nv_cache_hit_summary_per_model": "cache_hit",
    "nv_cache_miss_summary_per_model": "cache_miss",
}
BATCH_SIZES = "atoll_inference_batch_size"
FIRST_RESPONSES = "nv_inference_first_response_histogram_ms"


@dataclass
class Histogram:
    """As it is on the page. `buckets`: by upper bound, how many values were at most that."""

    count: float = 0
    sum: float = 0
    buckets: dict[float, float] = field(default_factory=dict)

    def expect_sum(self) -> None:
        """It never falls from bucket to bucket, and the last one has all."""
        counts = [self.buckets[bound] for bound in sorted(self.buckets)]
        assert counts == sorted(counts)
        assert max(self.buckets) == float("inf")
        assert counts[-1] == self.count


@dataclass
class Series:
    """All that the page has of one model version: numbers by name, those with a reason too, histograms, and of
    summaries the counts and sums.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    histograms: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    summaries: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))

    def expect_sum(self) -> None:
        """The page agrees with itself, whenever it was made."""
        numbers = self.numbers
        for histogram in self.histograms.values():
            histogram.expect_sum()
        request, queue, compute = (self.histograms[name] for name in HISTOGRAMS)
        assert request.count == queue.count == numbers["nv_inference_request_success"]
        assert compute.count == request.count - numbers.get("nv_cache_num_hits_per_model", 0)
        assert self.histograms[BATCH_SIZES].count == numbers["nv_inference_exec_count"]
        assert numbers["nv_inference_request_duration_us"] == pytest.approx(request.sum * 1e6, abs=1)


def series_of(families: Mapping[str, Metric]) -> dict[tuple[str, str], Series]:
    """By model and version."""
    found: dict[tuple[str, str], Series] = defaultdict(Series)
    for family in families.values():
        for sample in family.samples:
            if {"model", "version"} <= sample.labels.keys() and "state" not in sample.labels:
                one = found[sample.labels["model"], sample.labels["version"]]
                if family.type in ("histogram", "summary"):
                    kept = one.histograms if family.type == "histogram" else one.summaries
                    _put(kept[family.name], sample)
                elif "reason" in sample.labels:  # by the family's name: the parser adds _total to a counter's samples
                    one.reasons[family.name][sample.labels["reason"]] = sample.value
                else:
                    one.numbers[family.name] = sample.value
    return found


def _put(histogram: Histogram, sample: Any) -> None:
    if sample.name.endswith("_bucket"):
        histogram.buckets[float(sample.labels["le"])] = sample.value
    elif sample.name.endswith("_sum"):
        histogram.sum = sample.value
    elif sample.name.endswith("_count"):
        histogram.count = sample.value


def expect_statistics_sum(document: Mapping[str, Any]) -> None:
    """The statistics of one version agree with themselves, whenever they were made."""
    stats = document["inference_stats"]
    executed = stats["success"]["count"] - stats["cache_hit"]["count"]
    assert stats["queue"]["count"] == stats["success"]["count"]
    for part in ("compute_input", "compute_infer", "compute_output"):
        assert stats[part]["count"] == executed
        assert sum(one[part]["count"] for one in document["batch_stats"]) == document["execution_count"]
    assert sum(stats[part]["ns"] for part in stats if part.startswith(("queue", "compute"))) <= stats["success"]["ns"]


def expect_agreement(document: Mapping[str, Any], series: Series) -> None:
    """Statistics and page say the same, number by number."""
    stats, batches = document["inference_stats"], document["batch_stats"]
    numbers, histograms = series.numbers, series.histograms
    assert numbers["nv_inference_request_success"] == stats["success"]["count"]
    assert sum(series.reasons["nv_inference_request_failure"].values()) == stats["fail"]["count"]
    assert numbers["nv_inference_count"] == document["inference_count"]
    assert numbers["nv_inference_exec_count"] == document["execution_count"]
    for name, part in DURATIONS.items():
        assert numbers[name] == stats[part]["ns"] // 1000
    for name, parts in HISTOGRAMS.items():
        assert histograms[name].count == stats[parts[0]]["count"]
        assert histograms[name].sum == pytest.approx(sum(stats[part]["ns"] for part in parts) / 1e9, rel=1e-9)
    sizes = histograms[BATCH_SIZES]
    assert sizes.sum == sum(one["batch_size"] * one["compute_infer"]["count"] for one in batches)
    for bound, count in sizes.buckets.items():
        assert count == sum(one["compute_infer"]["count"] for one in batches if one["batch_size"] <= bound)
    if "nv_cache_num_hits_per_model" in numbers:
        for kind in ("hit", "miss"):
            assert (
                numbers[f"nv_cache_num_{'hits' if kind == 'hit' else 'misses'}_per_model"]
                == (stats[f"cache_{kind}"]["count"])
            )
            assert numbers[f"nv_cache_{kind}_duration_per_model"] == stats[f"cache_{kind}"]["ns"] // 1000
    for name, summary in series.summaries.items():
        assert summary.count == stats[SUMMARIES[name]]["count"]
        assert summary.sum == stats[SUMMARIES[name]]["ns"] // 1000
    assert numbers.get("atoll_model_memory_bytes", 0) > 0 or not document["memory_usage"]


def expect_what_was_sent(document: Mapping[str, Any], series: Series, sent: Sent) -> None:
    """Every request was counted once, with the end that its client saw."""
    stats = document["inference_stats"]
    assert stats["success"]["count"] == sent.success
    assert stats["fail"]["count"] == sent.failures.total()
    assert stats["compute_infer"]["count"] == sent.executed
    assert document["inference_count"] == sent.items
    assert (stats["cache_hit"]["count"], stats["cache_miss"]["count"]) == (sent.success - sent.executed, sent.missed)
    failures = {reason: count for reason, count in series.reasons["nv_inference_request_failure"].items() if count}
    assert failures == sent.failures
    assert series.reasons["atoll_inference_request_refused_count"] == sent.refused
    assert series.numbers["nv_inference_pending_request_count"] == 0
    assert series.numbers["atoll_inference_in_flight_request_count"] == 0
    places = {
        (int(place), kind): one[counted]["count"]
        for place, one in document["response_stats"].items()
        for kind, counted in (("data", "success"), ("empty", "empty_response"), ("error", "fail"))
        if one[counted]["count"]
    }
    assert places == sent.responses
    if FIRST_RESPONSES in series.histograms:
        assert series.histograms[FIRST_RESPONSES].count == sent.responses[0, "data"]
