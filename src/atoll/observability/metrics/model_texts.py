"""The lines of all model versions, family by family. What was written for a version is kept for as long as nothing is
recorded about it: most models of a large server rest between two scrapes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from atoll.observability.metrics.labels import ModelLabels
from atoll.observability.metrics.model_families import IN_FLIGHT, PENDING, model_families
from atoll.observability.metrics.pace import Pace
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.metrics.text_format import header
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder

_TOGETHER: Final = 100  # versions whose lines are put together in one piece


class CountedModel(Protocol):
    """A model version, and what is counted of it."""

    @property
    def recorder(self) -> StatisticsRecorder: ...
    def statistics(self) -> ModelStatistics:
        """A snapshot."""

    def pending(self) -> int:
        """How many requests wait in the queue."""

    def in_flight(self) -> int:
        """How many requests are queued or executing."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """`texts`: by family."""

    revision: object
    labels: ModelLabels
    texts: tuple[bytes, ...]


class ModelTexts:
    """Not thread-safe."""

    def __init__(self, settings: MetricsSettings):
        self._settings = settings
        self._families = model_families(settings)
        self._headers = [header(one.name, one.description, one.kind).encode() for one in self._families]
        self._kept: dict[StatisticsRecorder, _Kept] = {}

    def parts(self, models: Sequence[CountedModel], pace: Pace) -> Iterator[bytes]:
        """Pieces of the page, in their order."""
        rows = [self._row(model, pace) for model in models]
        for gone in self._kept.keys() - {model.recorder for model in models}:
            del self._kept[gone]
            pace()
        for column, first in enumerate(self._headers):
            written = False
            for start in range(0, len(rows), _TOGETHER):
                pace()
                part = b"".join([row.texts[column] for row in rows[start : start + _TOGETHER]])
                if part:
                    yield part if written else first + part
                    written = True
        yield from _gauge(PENDING, models, rows, lambda model: model.pending(), pace)
        yield from _gauge(IN_FLIGHT, models, rows, lambda model: model.in_flight(), pace)

    def _row(self, model: CountedModel, pace: Pace) -> _Kept:
        pace()
        recorder = model.recorder
        revision = recorder.revision  # before the numbers: what is recorded meanwhile makes it an old one
        kept = self._kept.get(recorder)
        if kept is not None and kept.revision == revision:
            return kept
        statistics = model.statistics()
        labels = ModelLabels.of(statistics) if kept is None else kept.labels
        texts = []
        for family in self._families:
            texts.append(family.lines(statistics, labels, self._settings).encode())
            pace()
        # one by one: freeing all the old ones at once would hold other threads up
        row = self._kept[recorder] = _Kept(revision, labels, tuple(texts))
        return row


def _gauge(
    family: tuple[str, str],
    models: Sequence[CountedModel],
    rows: Sequence[_Kept],
    read: Callable[[CountedModel], int],
    pace: Pace,
) -> Iterator[bytes]:
    name, description = family
    lines = [header(name, description, "gauge")] if models else []
    for model, row in zip(models, rows, strict=True):
        lines.append(f"{name}{{{row.labels.all}}} {read(model)}\n")
        pace()
    if lines:
        yield "".join(lines).encode()
