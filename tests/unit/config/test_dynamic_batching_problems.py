"""What is said of `dynamic_batching` at load: the real server's errors, and warnings where it is silent."""

import pytest

from atoll.config.problems import Problem, errors_of
from atoll.config.textproto import read_config_text
from atoll.config.validation.dynamic_batching import dynamic_batching_problems

FAR = 2**64 - 1


def found(batching: str, max_batch_size: int = 4) -> list[Problem]:
    config = read_config_text(f"dynamic_batching {{ {batching} }}", "config.pbtxt")
    assert config.dynamic_batching is not None
    return list(dynamic_batching_problems(config.dynamic_batching, max_batch_size, "m"))


def queue(policy: str, more: str = "") -> str:
    return f"default_queue_policy {{ {policy} }} {more}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "priority_levels: 1 default_priority_level: 1 preserve_ordering: true",
        "priority_levels: 10000000 default_priority_level: 10000000",
        "preserve_ordering: true max_queue_delay_microseconds: 100 preferred_batch_size: [4, 2]",
        queue("max_queue_size: 4294967295"),
        queue("timeout_action: DELAY default_timeout_microseconds: 1 allow_timeout_override: true"),
        queue("default_timeout_microseconds: 101", "max_queue_delay_microseconds: 100"),
        queue("timeout_action: DELAY default_timeout_microseconds: 99", "max_queue_delay_microseconds: 100"),
    ],
)
def test_nothing_is_wrong(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 0 value {} }",
            "priority_queue_policy[0]",
            "priority queue policy must have priority level in range [1, 2] for m",
        ),
        (
            "priority_levels: 2 default_priority_level: 3",
            "default_priority_level",
            "default priority level must be in range [1, 2] for m",
        ),
        (
            f"priority_levels: 2 default_priority_level: {FAR}",
            "default_priority_level",
            "default priority level must be in range [1, 2] for m",
        ),
        (
            "preserve_ordering: true priority_levels: 3 default_priority_level: 1",
            "preserve_ordering",
            "Only one priority level is allowed when 'preserve_ordering' is true for m",
        ),
    ],
)
def test_errors_in_the_real_servers_words(text: str, key: str, message: str) -> None:
    [problem] = errors_of(found(text))
    assert (problem.path, problem.message) == (f"dynamic_batching.{key}", message)


def test_a_preferred_size_of_a_model_that_does_not_batch() -> None:
    [problem] = errors_of(found("preferred_batch_size: [1]", max_batch_size=0))
    assert problem.message == "dynamic batching preferred size must be <= max batch size for m"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("default_priority_level: 5", "default_priority_level"),
        ("priority_queue_policy { key: 7 value { max_queue_size: 1 } }", "priority_queue_policy"),
        (queue("allow_timeout_override: true"), "default_queue_policy.allow_timeout_override"),
        (queue("timeout_action: DELAY"), "default_queue_policy.timeout_action"),
        (queue(f"default_timeout_microseconds: {FAR}"), "default_queue_policy.default_timeout_microseconds"),
        (
            queue("default_timeout_microseconds: 100", "max_queue_delay_microseconds: 100"),
            "default_queue_policy.default_timeout_microseconds",
        ),
        (
            "priority_levels: 2 default_priority_level: 1 "
            "priority_queue_policy { key: 2 value { timeout_action: DELAY } }",
            "priority_queue_policy[2].timeout_action",
        ),
        (f"max_queue_delay_microseconds: {FAR}", "max_queue_delay_microseconds"),
    ],
)
def test_what_has_no_effect_or_a_strange_one_is_a_warning(text: str, key: str) -> None:
    problems = found(text)
    assert [(one.path, one.warning) for one in problems] == [(f"dynamic_batching.{key}", True)]


def test_a_model_that_does_not_batch_may_have_a_queue() -> None:
    assert [one.path for one in found("max_queue_delay_microseconds: 5", 0)] == ["dynamic_batching"]
    assert found(queue("max_queue_size: 3"), 0) == []
    assert found("priority_levels: 2 default_priority_level: 1", 0) == []
