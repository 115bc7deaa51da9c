"""What tests need of a metrics page: one made of given statistics, and one read by Prometheus's own parser."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from atoll.observability.metrics.model_texts import ModelTexts
from atoll.observability.metrics.settings import DEFAULTS, MetricsSettings
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder

Key = tuple[str, tuple[tuple[str, str], ...]]


class Counted:
    """A model whose numbers are given, or those of a recorder."""

    def __init__(self, statistics: ModelStatistics | None = None, recorder: StatisticsRecorder | None = None):
        self.recorder = recorder or StatisticsRecorder("m", "1")
        self.given = statistics
        self.asked = 0

    def statistics(self) -> ModelStatistics:
        self.asked += 1
        return self.given or self.recorder.snapshot()

    def pending(self) -> int:
        return 0 if self.given is None else self.given.pending_request_count

    def in_flight(self) -> int:
        return 0 if self.given is None else self.given.in_flight_request_count


def model_lines(*models: ModelStatistics, settings: MetricsSettings = DEFAULTS) -> str:
    """The lines of all families that models have, with their headers."""
    return text_of(ModelTexts(settings), *map(Counted, models))


def text_of(texts: ModelTexts, *models: Counted) -> str:
    return b"".join(texts.parts(models, lambda: None)).decode()


def samples(text: str) -> Mapping[Key, float]:
    """The values by the name and the labels that stand on the page, which is checked on the way: one header for each
    family, no series twice, histograms that rise and agree with their counts.
    """
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert names == list(dict.fromkeys(names)), f"typed twice: {Counter(names).most_common(1)}"
    found: dict[Key, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.type != "unknown", f"no type: {family.name}"
        for sample in family.samples:
            name = sample.name
            if family.type == "counter" and name not in names:
                name = name.removesuffix("_total")  # the parser's own addition
            key = name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    _check_histograms(found)
    return found


def _check_histograms(found: Mapping[Key, float]) -> None:
    buckets: dict[Key, list[tuple[float, float]]] = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            rest = tuple(one for one in labels if one[0] != "le")
            buckets.setdefault((name.removesuffix("_bucket"), rest), []).append((float(dict(labels)["le"]), value))
    for (name, labels), steps in buckets.items():
        assert all(low < high for (low, _), (high, _) in pairwise(steps)), f"not ascending: {name}"
        assert all(fewer <= more for (_, fewer), (_, more) in pairwise(steps)), f"falls: {name}"
        assert steps[-1] == (float("inf"), found[f"{name}_count", labels]), f"does not add up: {name}"
        assert (f"{name}_sum", labels) in found
