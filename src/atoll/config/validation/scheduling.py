"""What is wrong with a configuration's scheduler: dynamic batching, sequence batching, or an ensemble's steps."""

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem
from atoll.config.validation.dynamic_batching import dynamic_batching_problems
from atoll.config.validation.ensemble import ensemble_problems
from atoll.config.validation.sequences import sequence_problems


def scheduling_problems(config: ModelConfig, name: str) -> list[Problem]:
    """All of it."""
    problems: list[Problem] = []
    chosen = [
        one
        for one in ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
        if getattr(config, one) is not None
    ]
    if len(chosen) > 1:
        message = f'Field "{chosen[1]}" is specified along with field "{chosen[0]}", another member of oneof'
        remedy = "Remove the others: a model has one scheduler."
        problems.append(Problem(chosen[1], message, " and ".join(chosen), "at most one of them", remedy))
    if config.dynamic_batching is not None:
        problems += dynamic_batching_problems(config.dynamic_batching, config.max_batch_size, name)
    if config.sequence_batching is not None:
        problems += sequence_problems(config, config.sequence_batching, name)
    problems += ensemble_problems(config, name)
    return problems
