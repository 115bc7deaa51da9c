"""How many sequences may wait for a slot: the parameter `max_backlog_sequences` of a model with sequence batching."""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig
from atoll.config.parameter_text import read_whole_number, wrong_parameter
from atoll.config.problems import Problem

DEFAULT = 1 << 16
MOST = 10**9


def backlog_limit(config: ModelConfig) -> int:
    """What the parameter says; the default where there is none, or nothing that can be read."""
    found = read_whole_number(config.parameter("max_backlog_sequences"), MOST)
    return DEFAULT if found is None else found


def backlog_problems(config: ModelConfig, name: str) -> Iterator[Problem]:
    """What is wrong with it."""
    text = config.parameter("max_backlog_sequences")
    if text and read_whole_number(text, MOST) is None:
        wanted = f"a whole number from 0 to {MOST}"
        yield wrong_parameter(name, "max_backlog_sequences", text, wanted)
