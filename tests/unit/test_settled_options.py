"""Options that are deprecated, and those that are only accepted: neither is passed over in silence."""

from typing import Any

import pytest

from atoll.errors import InvalidArgumentError
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


@pytest.mark.parametrize(
    ("given", "notice"),
    [
        (
            {"http_server_cert": "a.pem", "http_server_key": "b.pem"},
            "--http-server-cert, --http-server-key: no effect ",
        ),
        (
            {"http_use_ssl": True, "http_root_cert": "a.pem"},
            "--http-root-cert: no effect without --http-use-ssl-mutual",
        ),
        ({"grpc_server_cert": "a.pem"}, "--grpc-server-cert: no effect without --grpc-use-ssl"),
        (
            {"grpc_root_cert": "a.pem", "grpc_use_ssl": True},
            "--grpc-root-cert: no effect without --grpc-use-ssl-mutual",
        ),
        ({"rate_limit_resource": ["R:1"]}, "--rate-limit-resource: no effect without --rate-limit=execution_count"),
        ({"repository_poll_secs": 1}, "--repository-poll-secs: no effect without --model-control-mode=poll"),
        ({"sagemaker_port": 9}, "--sagemaker-port: no effect without --allow-sagemaker=true"),
        ({"vertex_ai_default_model": "m"}, "--vertex-ai-default-model: no effect without --allow-vertex-ai=true"),
        ({"api_key_exempt": "metadata"}, "--api-key-exempt: no effect without --api-key-file=FILE"),
        ({"cors_max_age": 5}, "--cors-max-age: no effect without --cors-allow-origin=ORIGIN"),
        ({"unix_socket_mode": "600"}, "--unix-socket-mode: no effect without an address such as"),
        (
            {"allow_metrics": False, "metrics_use_ssl": True},
            "--metrics-use-ssl: no effect without --allow-metrics=true",
        ),
    ],
)
def test_an_option_that_needs_another_says_so(given: dict[str, Any], notice: str) -> None:
    _, (said,) = settled({**DEFAULTS, **given})
    assert said.startswith(notice)


@pytest.mark.parametrize(
    "given",
    [
        {"http_server_cert": "a", "http_server_key": "b", "metrics_use_ssl": True},
        {"http_server_cert": "a", "http_server_key": "b", "http_root_cert": "c", "http_use_ssl_mutual": True},
        {"grpc_server_cert": "a", "grpc_server_key": "b", "grpc_root_cert": "c", "grpc_use_ssl_mutual": True},
        {"rate_limit_resource": ["R:1"], "rate_limit": "execution_count"},
        {"repository_poll_secs": 1, "repository_settle_secs": 1.0, "model_control_mode": "poll"},
        {"sagemaker_port": 9, "sagemaker_safe_port_range": "1-9", "allow_sagemaker": True},
        {"unix_socket_mode": "600", "grpc_address": "unix:/tmp/s"},
        {"cors_max_age": 5, "cors_allow_origin": ["*"]},
    ],
)
def test_with_it_nothing_is_said(given: dict[str, Any]) -> None:
    assert settled({**DEFAULTS, **given})[1] == []


@pytest.mark.parametrize("field", ["cuda_memory_pool_byte_size", "cuda_virtual_address_size"])
@pytest.mark.parametrize("text", ["abc", "0", "0:", ":5", "0:5:5", "-1:5", "0:1GB"])
def test_a_malformed_size_of_a_device_is_refused_although_it_has_no_effect(field: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"--{field.replace('_', '-')}={text}: expected DEVICE:BYTES"):
        settled({**DEFAULTS, field: ["0:1", text]})


@pytest.mark.parametrize(
    ("field", "value"),
    [("http_address", ""), ("grpc_address", ""), ("model_repository", ["models", ""]), ("load_model", [""])],
)
def test_a_variable_that_is_not_set_opens_nothing(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"--{field.replace('_', '-')} is empty"):
        settled({**DEFAULTS, field: value})


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
