"""How many requests a model may have that are not answered yet: its parameter `max_inflight_requests`."""

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem

MOST = 10**9


def inflight_limit(config: ModelConfig) -> int:
    """What the parameter says; 0, no limit, where there is none, or nothing that can be read."""
    return _parse(config.parameter("max_inflight_requests")) or 0


def inflight_limit_problems(config: ModelConfig, name: str) -> list[Problem]:
    """What is wrong with it."""
    text = config.parameter("max_inflight_requests")
    if not text or _parse(text) is not None:
        return []
    wanted = f"a whole number from 0 (no limit) to {MOST}"
    message = f"parameter 'max_inflight_requests' of model '{name}' is '{text}' but must be {wanted}"
    return [Problem("parameters.max_inflight_requests", message, f"'{text}'", wanted, "")]


def _parse(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= MOST else None
