"""The parameter `deadline_seconds`: what it takes, and what is said of anything else."""

import pytest

from atoll.config.deadline import deadline_ns, deadline_problems, parse_deadline_ns
from atoll.config.model_config import ModelConfig, ModelParameter


@pytest.mark.parametrize(("text", "ns"), [("1", 10**9), ("0.25", 250_000_000), (".5", 5 * 10**8), ("0.0000000001", 1)])
def test_seconds(text: str, ns: int) -> None:
    config = ModelConfig(name="m", parameters={"deadline_seconds": ModelParameter(string_value=text)})
    assert deadline_ns(config) == ns
    assert deadline_problems(config, "m") == []


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "nan", "inf", "1.2.3", ".", "²", "1000001", "1" * 33, " 1"])
def test_what_is_no_time(text: str) -> None:
    assert parse_deadline_ns(text) is None
    config = ModelConfig(name="m", parameters={"deadline_seconds": ModelParameter(string_value=text)})
    [problem] = deadline_problems(config, "m")
    assert problem.path == "parameters.deadline_seconds"
    assert deadline_ns(config) == 0


def test_a_model_without_it_has_no_limit() -> None:
    assert deadline_ns(ModelConfig(name="m")) == 0
    assert deadline_problems(ModelConfig(name="m"), "m") == []
