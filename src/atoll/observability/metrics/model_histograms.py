"""The histograms of a model version: how long its requests took, and how large its batches were."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

from atoll.observability.metrics.labels import ModelLabels
from atoll.observability.metrics.text_format import EVERYTHING, number
from atoll.observability.statistics.distribution import Distribution
from atoll.observability.statistics.measures import BATCH_SIZE, UNITS
from atoll.observability.statistics.model import ModelStatistics

_LABELS: Final = "\0"  # where a model's labels go


def duration_lines(family: str, found: Distribution, model: ModelStatistics, labels: ModelLabels) -> str:
    """Of durations, in the family's unit."""
    bounds = model.measures.buckets[family]
    return _lines(family, bounds, found.cumulative(bounds), found.count, found.total, labels)


def batch_size_lines(model: ModelStatistics, labels: ModelLabels) -> str:
    """One value for each execution: how many items it had."""
    bounds = model.measures.buckets[BATCH_SIZE]
    counts = [0] * (len(bounds) + 1)
    items = executions = 0
    for batch in model.batch_stats:
        times = batch.compute_infer.count
        counts[bisect_left(bounds, batch.batch_size)] += times
        items += batch.batch_size * times
        executions += times
    return _lines(BATCH_SIZE, bounds, list(accumulate(counts))[:-1], executions, items, labels)


def _lines(
    family: str, bounds: tuple[int, ...], cumulative: Sequence[int], count: int, total: int, labels: ModelLabels
) -> str:
    # one text for all models, in which the labels and numbers are set at once: a page has some ten thousand such lines
    template = _template(family, bounds).replace(_LABELS, labels.all.replace("%", "%%"))
    unit = UNITS[family]
    return template % (*cumulative, count, total if unit == 1 else total / unit, count)


@lru_cache(maxsize=512)
def _template(family: str, bounds: tuple[int, ...]) -> str:
    unit = UNITS[family]
    shown = [*(number(bound / unit) for bound in bounds), EVERYTHING]
    buckets = "".join([f'{family}_bucket{{{_LABELS},le="{bound}"}} %s\n' for bound in shown])
    return f"{buckets}{family}_sum{{{_LABELS}}} %s\n{family}_count{{{_LABELS}}} %s\n"
