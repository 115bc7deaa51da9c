"""What a configuration says of the response cache: `response_cache`, and the parameter `response_cache_ttl_seconds`."""

from atoll.config.model_config import ModelConfig
from atoll.config.parameter_text import read_seconds, wrong_parameter
from atoll.config.problems import Problem

TTL = "response_cache_ttl_seconds"
LONGEST_TTL_S = 10 * 365 * 86400.0  # ten years


def parse_ttl(text: str) -> float | None:
    """A number of seconds above 0 and up to ten years; None for what is none."""
    return read_seconds(text, LONGEST_TTL_S)


def is_cached(config: ModelConfig) -> bool:
    """Whether the model's answers may be kept."""
    return config.response_cache is not None and config.response_cache.enable


def cache_ttl_s(config: ModelConfig) -> float:
    """For how long, in seconds; 0 where the model does not say."""
    return parse_ttl(config.parameter(TTL)) or 0.0


def cache_problems(config: ModelConfig, name: str) -> list[Problem]:
    """What is wrong with either, or does not go together with them; the first two in the real server's words."""
    problems = []
    if is_cached(config):
        for kind, present in (
            ("'decoupled' transaction policy", config.decoupled),
            ("sequence batching scheduler", config.sequence_batching is not None),
        ):
            if present:
                message = (
                    f"Response Cache does not currently support model {name} with {kind}. Please disable the response "
                    "cache."
                )
                problems.append(Problem("response_cache.enable", message, "true", "false", ""))
    text = config.parameter(TTL)
    if text and parse_ttl(text) is None:
        wanted = "a number of seconds above 0, such as 60"
        problems.append(wrong_parameter(name, TTL, text, wanted))
    return problems
