"""The labels by which a model version's metrics are told from others'."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from atoll.errors import ConfigError
from atoll.observability.metrics.text_format import escape_label
from atoll.observability.statistics.model import ModelStatistics

_TAG: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_]*|")


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


@dataclass(frozen=True, slots=True)
class ModelLabels:
    """As they stand on the page, in the order of their names, as the real server has them. `before` is what comes
    before a line's own label `reason`, `version` what comes after it, `all` both.
    """

    before: str
    version: str
    all: str

    @classmethod
    def of(cls, model: ModelStatistics) -> Self:
        """Of a model version."""
        values = {**model.labels, "model": model.name}
        before = ",".join([f'{key}="{escape_label(values[key])}"' for key in sorted(values)])
        version = f'version="{escape_label(model.version)}"'
        return cls(before, version, f"{before},{version}")
