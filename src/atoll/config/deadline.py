"""How long a model's requests may take in all: its parameter `deadline_seconds`."""

from atoll.config.model_config import ModelConfig
from atoll.config.parameter_text import read_seconds, wrong_parameter
from atoll.config.problems import Problem

MAX_SECONDS = 10**6
_NS = 1_000_000_000


def parse_deadline_ns(text: str) -> int | None:
    """A number of seconds, such as 0.25, in nanoseconds; None for what is no number above 0 and up to 10^6."""
    seconds = read_seconds(text, MAX_SECONDS)
    return None if seconds is None else max(int(seconds * _NS), 1)


def deadline_ns(config: ModelConfig) -> int:
    """What the parameter says, in nanoseconds; 0 where there is none, or nothing that can be read."""
    return parse_deadline_ns(config.parameter("deadline_seconds")) or 0


def deadline_problems(config: ModelConfig, name: str) -> list[Problem]:
    """What is wrong with it."""
    text = config.parameter("deadline_seconds")
    if not text or parse_deadline_ns(text) is not None:
        return []
    wanted = f"a number of seconds above 0 and up to {MAX_SECONDS}, such as 0.5"
    return [wrong_parameter(name, "deadline_seconds", text, wanted)]
