"""Options that are deprecated, and those that are only accepted: neither is passed over in silence."""

from typing import Any

import pytest

from atoll.options import OPTIONS
from atoll.settled_options import settled

DEFAULTS: dict[str, Any] = {
    option.field: list(option.default) if option.kind is list else option.default for option in OPTIONS
}
OTHER: dict[type, Any] = {bool: None, int: 7, float: 7.5, str: "/opt/somewhere", list: ["0:100"]}
INERT = [option for option in OPTIONS if option.no_effect]


def test_defaults_say_nothing_and_stay() -> None:
    values, notices = settled(DEFAULTS)
    assert values == DEFAULTS
    assert notices == []


@pytest.mark.parametrize("option", INERT, ids=lambda option: option.name)
def test_an_option_without_effect_says_why(option: Any) -> None:
    value = not option.default if option.kind is bool else OTHER[option.kind]
    _, notices = settled({**DEFAULTS, option.field: value})
    assert notices == [f"--{option.name} has no effect: {option.no_effect}"]


def test_the_names_of_some_that_have_none() -> None:
    assert {"cache-directory", "enable-peer-access", "cuda-memory-pool-byte-size"} <= {one.name for one in INERT}


@pytest.mark.parametrize("strict", [True, False])
def test_strict_model_config_is_todays_option(strict: bool) -> None:
    values, (notice,) = settled({**DEFAULTS, "strict_model_config": strict})
    assert values["disable_auto_complete_config"] is strict
    assert "--disable-auto-complete-config" in notice


def test_the_old_size_of_the_cache_names_the_new_form() -> None:
    _, (notice,) = settled({**DEFAULTS, "response_cache_byte_size": 4096})
    assert "--cache-config=local,size=4096" in notice


def test_the_old_options_of_traces_are_trace_config_and_say_less() -> None:
    old = {"trace_file": "/tmp/a", "trace_level": ["TENSORS", "TIMESTAMPS"], "trace_rate": 0, "trace_count": -1}
    values, notices = settled({**DEFAULTS, **old, "trace_log_frequency": 5, "trace_config": ["rate=7"]})
    assert values["trace_config"] == [
        *("level=TENSORS", "level=TIMESTAMPS", "triton,file=/tmp/a", "rate=0", "count=-1"),
        *("triton,log-frequency=5", "rate=7"),
    ]
    assert len(notices) == 6
    assert "--trace-config=triton,file=/tmp/a" in notices[2]


def test_a_level_of_today_is_not_added_to_by_an_old_one() -> None:
    values, _ = settled({**DEFAULTS, "trace_level": ["TENSORS"], "trace_config": ["level=TIMESTAMPS"]})
    assert values["trace_config"] == ["level=TIMESTAMPS"]
