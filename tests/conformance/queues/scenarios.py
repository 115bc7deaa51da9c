"""Queues with rules: models, and what is asked of each while its only instance is busy. For both servers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ask:
    """One request; the next one follows when this one waits, runs, or is answered."""

    name: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    rows: int = 1
    width: int = 1


@dataclass(frozen=True)
class Wait:
    """Let time pass, in which timeouts end."""

    ms: int


@dataclass(frozen=True)
class Scenario:
    """`batching` is what the configuration says of its scheduler. `ordered`: it is also noted who was answered while
    the first request ran; elsewhere the servers differ, since the real one refuses late requests when an instance is
    free, and Atoll when they are late.
    """

    batching: str
    steps: tuple[Ask | Wait, ...]
    max_batch_size: int = 8
    instances: int = 1
    ordered: bool = False


def _queue(policy: str, more: str = "") -> str:
    return f"dynamic_batching {{ default_queue_policy {{ {policy} }} {more} }}"


def _level(level: int, number: int, *, rows: int = 1, width: int = 1) -> Ask:
    return Ask(f"level{level}_{number}", {"priority": level}, rows, width)


_LATE = Wait(300)
_DELAYED = "timeout_action: DELAY default_timeout_microseconds: 60000000 allow_timeout_override: true"
_SOON = {"timeout": 50_000}

SCENARIOS: dict[str, Scenario] = {
    "a_timeout_refuses": Scenario(
        _queue("default_timeout_microseconds: 100000"),
        (Ask("plain"), Ask("tiny", {"timeout": 1}), Ask("huge", {"timeout": 2**62}), _LATE),
    ),
    "an_override_shortens": Scenario(
        _queue("default_timeout_microseconds: 60000000 allow_timeout_override: true"),
        (Ask("plain"), Ask("short", {"timeout": 50_000}), Ask("long", {"timeout": 2**62}), _LATE),
    ),
    "an_override_does_not_prolong": Scenario(
        _queue("default_timeout_microseconds: 100000 allow_timeout_override: true"),
        (Ask("plain"), Ask("long", {"timeout": 60_000_000}), _LATE),
    ),
    "an_override_of_no_timeout": Scenario(
        _queue("allow_timeout_override: true"), (Ask("plain"), Ask("short", {"timeout": 50_000}), _LATE)
    ),
    "a_timeout_without_dynamic_batching": Scenario("", (Ask("short", {"timeout": 1000}), _LATE)),
    "a_full_queue": Scenario(
        _queue("max_queue_size: 2"), (Ask("first"), Ask("second", rows=4), Ask("third"), Ask("fourth"))
    ),
    "a_queue_without_batches": Scenario(
        _queue("max_queue_size: 2 default_timeout_microseconds: 100000"),
        (Ask("first"), Ask("second"), Ask("third"), _LATE),
        max_batch_size=0,
    ),
    "late_ones_last": Scenario(
        _queue(_DELAYED),
        (Ask("late0", _SOON), Ask("late1", _SOON), _LATE, Ask("new0"), Ask("new1")),
        max_batch_size=1,
    ),
    "late_ones_count": Scenario(
        _queue(f"{_DELAYED} max_queue_size: 2"),
        (Ask("late0", _SOON), Ask("late1", _SOON), _LATE, Ask("new")),
        max_batch_size=1,
    ),
    "priorities": Scenario(
        "dynamic_batching { priority_levels: 3 default_priority_level: 2 }",
        tuple(_level(level, number, rows=4) for number, level in enumerate([3, 0, 1, 2, 4, 99, 1, 3])),
    ),
    "priorities_and_shapes": Scenario(
        "dynamic_batching { priority_levels: 2 default_priority_level: 2 }",
        tuple(
            _level(level, number, width=width)
            for number, (level, width) in enumerate([(2, 1), (1, 2), (2, 2), (1, 1), (1, 2), (2, 1)])
        ),
    ),
    "priorities_and_preferred_sizes": Scenario(
        "dynamic_batching { preferred_batch_size: [ 3, 6 ] priority_levels: 2 default_priority_level: 2 }",
        tuple(_level(level, number) for number, level in enumerate([2, 1, 2, 1, 2, 2, 1, 2])),
    ),
    "policies_of_levels": Scenario(
        _queue(
            "max_queue_size: 1",
            "priority_levels: 2 default_priority_level: 1 "
            "priority_queue_policy { key: 2 value { timeout_action: DELAY default_timeout_microseconds: 60000000 } }",
        ),
        tuple(_level(level, number, rows=4) for number, level in enumerate([2, 2, 1, 1, 0, 2])),
    ),
    "late_ones_of_a_level_before_the_next": Scenario(
        # the limit keeps the real server from giving an instance its next batch while it is busy
        _queue(
            "max_queue_size: 100",
            f"priority_levels: 2 default_priority_level: 2 priority_queue_policy {{ key: 1 value {{ {_DELAYED} }} }}",
        ),
        (Ask("late", {"priority": 1, **_SOON}), _level(2, 1), _LATE, _level(1, 2), _level(2, 3)),
        max_batch_size=1,
    ),
    "policies_without_levels": Scenario(
        "dynamic_batching { default_priority_level: 5 priority_queue_policy { key: 5 value { max_queue_size: 1 } } }",
        (Ask("first"), _level(5, 1), _level(1, 2)),
    ),
    "answers_in_order": Scenario(
        "dynamic_batching { preserve_ordering: true preferred_batch_size: [ 1 ] }",
        (Ask("second"), Ask("third")),
        max_batch_size=1,
        instances=2,
        ordered=True,
    ),
    "answers_as_they_come": Scenario(
        "dynamic_batching { preferred_batch_size: [ 1 ] }",
        (Ask("second"), Ask("third")),
        max_batch_size=1,
        instances=2,
        ordered=True,
    ),
}
