"""What is counted of a model version, as its configuration and the server's settings want it."""

from dataclasses import dataclass

from atoll.config.model_config import ModelConfig
from atoll.config.response_cache import is_cached
from atoll.observability.metrics.labels import metric_labels
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.statistics.measures import measures
from atoll.observability.statistics.recent_errors import RecentErrors
from atoll.observability.statistics.recorder import StatisticsRecorder


@dataclass(frozen=True, slots=True)
class Recorders:
    """Makes them for the models of one server, all of which note their errors in the same place."""

    settings: MetricsSettings
    errors: RecentErrors

    def recorder(self, config: ModelConfig, version: int, namespace: str) -> StatisticsRecorder:
        """Of a version; `namespace` "" where models have none.

        Raises ConfigError for tags and buckets of metrics that cannot be.
        """
        settings = self.settings
        return StatisticsRecorder(
            config.name,
            str(version),
            labels=metric_labels(config.metric_tags, namespace),
            cached=is_cached(config),
            decoupled=config.decoupled,
            measures=measures(
                config, summaries=settings.summary_latencies, first_responses=settings.histogram_latencies
            ),
            errors=self.errors,
        )
