"""Which scheduler a model's configuration asks for."""

from atoll.config.model_config import ModelConfig
from atoll.scheduling.batch_forming import BatchRules
from atoll.scheduling.direct import DirectScheduler
from atoll.scheduling.dynamic_batcher import DynamicBatcher
from atoll.scheduling.scheduler import Scheduler


def choose_scheduler(config: ModelConfig) -> Scheduler:
    """A new scheduler for a complete configuration."""
    batching = config.dynamic_batching
    if batching is None or config.max_batch_size < 1:
        return DirectScheduler()
    rules = BatchRules(
        max_batch_size=config.max_batch_size,
        preferred_sizes=frozenset(batching.preferred_batch_size),
        max_queue_delay_ns=batching.max_queue_delay_microseconds * 1000,
    )
    return DynamicBatcher(rules)
