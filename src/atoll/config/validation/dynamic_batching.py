"""What is wrong with `dynamic_batching`: sizes, delays, priorities and the policies of queues."""

from collections.abc import Iterator
from dataclasses import replace

from atoll.config.model_config import ModelDynamicBatching, ModelQueuePolicy
from atoll.config.problems import Problem

_PATH = "dynamic_batching"
_MINUTE_US = 60_000_000
_FAR_US = 100 * 365 * 24 * 3600 * 1_000_000  # what a scheduler takes any longer time for


def dynamic_batching_problems(batching: ModelDynamicBatching, max_batch_size: int, name: str) -> Iterator[Problem]:
    """All of it; warnings for what has no effect, or another one than it seems."""
    queue_alone = replace(batching, preferred_batch_size=(), max_queue_delay_microseconds=0)
    if max_batch_size == 0 and queue_alone == ModelDynamicBatching():
        message = f"dynamic batching has no effect for {name}, whose tensors have no batch dimension"
        remedy = "Set max_batch_size if the model can batch; remove dynamic_batching if it cannot."
        yield Problem(_PATH, message, "max_batch_size: 0", "max_batch_size of 1 or more", remedy, warning=True)
    label = "dynamic batching preferred size"
    sizes = batching.preferred_batch_size
    yield from preferred_size_problems(f"{_PATH}.preferred_batch_size", label, sizes, max_batch_size, name)
    yield from _delay(batching, max_batch_size)
    yield from _priorities(batching, name)
    if batching.default_queue_policy is not None:
        yield from _policy(batching.default_queue_policy, f"{_PATH}.default_queue_policy", batching)
    for level, policy in batching.priority_queue_policy.items():
        yield from _policy(policy, f"{_PATH}.priority_queue_policy[{level}]", batching)


def preferred_size_problems(
    path: str, label: str, sizes: tuple[int, ...], max_batch_size: int, name: str
) -> Iterator[Problem]:
    """Of any scheduler's preferred batch sizes; `label` is what the real server calls them."""
    for index, size in enumerate(sizes):
        if size <= 0:
            message = f"{label} must be positive for {name}"
            yield Problem(f"{path}[{index}]", message, str(size), "1 or more", "Remove it.")
        elif size > max_batch_size:
            message = f"{label} must be <= max batch size for {name}"
            remedy = "Lower it, or raise max_batch_size."
            yield Problem(f"{path}[{index}]", message, str(size), f"at most max_batch_size: {max_batch_size}", remedy)


def _delay(batching: ModelDynamicBatching, max_batch_size: int) -> Iterator[Problem]:
    delay_us = batching.max_queue_delay_microseconds
    if max_batch_size > 0 and delay_us > _MINUTE_US:
        message = "a request that finds no company waits longer than a minute before it runs"
        yield Problem(f"{_PATH}.max_queue_delay_microseconds", message, str(delay_us), "microseconds", "", warning=True)


def _priorities(batching: ModelDynamicBatching, name: str) -> Iterator[Problem]:
    levels, default = batching.priority_levels, batching.default_priority_level
    if not levels:
        for key, given in (
            ("default_priority_level", default > 0),
            ("priority_queue_policy", bool(batching.priority_queue_policy)),
        ):
            if given:
                message = f"{key} has no effect for {name}, which has no priority levels"
                remedy = "Set priority_levels, or remove it."
                yield Problem(f"{_PATH}.{key}", message, "priority_levels: 0", "1 or more", remedy, warning=True)
        return
    if not 1 <= default <= levels:
        message = f"default priority level must be in range [1, {levels}] for {name}"
        remedy = "Set it to the level of requests that name none."
        yield Problem(f"{_PATH}.default_priority_level", message, str(default), f"1 to {levels}", remedy)
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            message = f"priority queue policy must have priority level in range [1, {levels}] for {name}"
            remedy = "Remove it, or raise priority_levels."
            yield Problem(f"{_PATH}.priority_queue_policy[{level}]", message, str(level), f"1 to {levels}", remedy)
    if batching.preserve_ordering and levels > 1:
        message = f"Only one priority level is allowed when 'preserve_ordering' is true for {name}"
        remedy = "Remove priority_levels or preserve_ordering."
        yield Problem(f"{_PATH}.preserve_ordering", message, f"priority_levels: {levels}", "at most 1", remedy)


def _policy(policy: ModelQueuePolicy, path: str, batching: ModelDynamicBatching) -> Iterator[Problem]:
    """Warnings alone: the real server takes any policy."""
    timeout_us, delays = policy.default_timeout_microseconds, policy.timeout_action.name == "DELAY"
    if not timeout_us:
        for key, given in (("allow_timeout_override", policy.allow_timeout_override), ("timeout_action", delays)):
            if given:
                message = f"{key} has no effect without default_timeout_microseconds"
                expected = "the longest time that any request may wait"
                yield Problem(f"{path}.{key}", message, "no default timeout", expected, "Set it.", warning=True)
        return
    key = f"{path}.default_timeout_microseconds"
    delay_us = batching.max_queue_delay_microseconds
    if timeout_us > _FAR_US:
        yield Problem(key, "more than a hundred years are as good as none", str(timeout_us), "", "", warning=True)
    elif not delays and timeout_us <= delay_us:
        message = "a request is refused before it has waited for company as long as it may"
        expected = f"more than max_queue_delay_microseconds: {delay_us}"
        yield Problem(key, message, str(timeout_us), expected, "Raise it, or lower the delay.", warning=True)
