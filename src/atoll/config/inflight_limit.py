"""How many requests a model may have that are not answered yet: its parameter `max_inflight_requests`."""

from atoll.config.model_config import ModelConfig
from atoll.config.parameter_text import read_whole_number, wrong_parameter
from atoll.config.problems import Problem

MOST = 10**9


def inflight_limit(config: ModelConfig) -> int:
    """What the parameter says; 0, no limit, where there is none, or nothing that can be read."""
    return read_whole_number(config.parameter("max_inflight_requests"), MOST) or 0


def inflight_limit_problems(config: ModelConfig, name: str) -> list[Problem]:
    """What is wrong with it."""
    text = config.parameter("max_inflight_requests")
    if not text or read_whole_number(text, MOST) is not None:
        return []
    wanted = f"a whole number from 0 (no limit) to {MOST}"
    return [wrong_parameter(name, "max_inflight_requests", text, wanted)]
