"""Which scheduler a model's configuration asks for: the simplest that does what is asked."""

from atoll.config.model_config import ModelConfig, ModelDynamicBatching
from atoll.scheduling.batch_forming import BatchRules
from atoll.scheduling.direct import DirectScheduler
from atoll.scheduling.dynamic_batcher import DynamicBatcher
from atoll.scheduling.queueing.batch_strategy import make_strategy
from atoll.scheduling.queueing.batcher import QueueingBatcher
from atoll.scheduling.queueing.priority_queue import PriorityQueue
from atoll.scheduling.queueing.queue_policy import QueuePolicy, nanoseconds, read_policy
from atoll.scheduling.queueing.response_order import ResponseOrder
from atoll.scheduling.scheduler import Scheduler
from atoll.scheduling.sequences.choose import sequence_batcher


def choose_scheduler(config: ModelConfig) -> Scheduler:
    """A new scheduler for a complete configuration. Raises ConfigError where it names a batch strategy that cannot be
    had.
    """
    if config.sequence_batching is not None:
        return sequence_batcher(config)
    batching = config.dynamic_batching
    if batching is None:
        return DirectScheduler()
    rules = BatchRules(
        max_batch_size=max(config.max_batch_size, 1),
        preferred_sizes=frozenset(batching.preferred_batch_size),
        max_queue_delay_ns=nanoseconds(batching.max_queue_delay_microseconds),
    )
    strategy = make_strategy(config) if config.max_batch_size >= 1 else None
    policies = _policies(batching)
    ruled = batching.priority_levels > 1 or any(policy != QueuePolicy() for policy in policies.values())
    if ruled or strategy is not None or batching.preserve_ordering:
        queue = PriorityQueue(
            policies.pop(0),
            levels=batching.priority_levels,
            default_level=batching.default_priority_level if batching.priority_levels else 0,
            policies=policies,
        )
        order = ResponseOrder() if batching.preserve_ordering else None
        return QueueingBatcher(queue, rules, strategy=strategy, order=order, prompt=ruled)
    return DynamicBatcher(rules) if config.max_batch_size >= 1 else DirectScheduler()


def _policies(batching: ModelDynamicBatching) -> dict[int, QueuePolicy]:
    """By level; 0: of all those that have none of their own. Without levels there is one queue, under the default
    policy, as in the real server.
    """
    policies = {0: read_policy(batching.default_queue_policy)}
    if batching.priority_levels:
        policies |= {level: read_policy(policy) for level, policy in batching.priority_queue_policy.items()}
    return policies
