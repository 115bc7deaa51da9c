"""How many sequences may wait for a slot: the parameter `max_backlog_sequences` of a model with sequence batching."""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem

DEFAULT = 1 << 16
MOST = 10**9


def backlog_limit(config: ModelConfig) -> int:
    """What the parameter says; the default where there is none, or nothing that can be read."""
    found = _parse(config.parameter("max_backlog_sequences"))
    return DEFAULT if found is None else found


def backlog_problems(config: ModelConfig, name: str) -> Iterator[Problem]:
    """What is wrong with it."""
    text = config.parameter("max_backlog_sequences")
    if text and _parse(text) is None:
        wanted = f"a whole number from 0 to {MOST}"
        message = f"parameter 'max_backlog_sequences' of model '{name}' is '{text}' but must be {wanted}"
        yield Problem("parameters.max_backlog_sequences", message, f"'{text}'", wanted, "")


def _parse(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= MOST else None
