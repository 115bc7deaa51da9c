"""What the options of the in-process API are for the engine."""

from typing import Any

import pytest

from atoll import tritonserver as ts
from atoll.options import ServerOptions
from atoll.tritonserver.options import engine_options, ignored, metrics_texts


def options(**given: Any) -> ts.Options:
    return ts.Options(model_repository="models", **given)


def test_every_setting_is_one_of_the_engines() -> None:
    meant = ServerOptions(**engine_options(options()))
    assert (meant.id, meant.model_repository, meant.model_control_mode) == ("triton", ["models"], "none")
    assert meant.disable_auto_complete_config


@pytest.mark.parametrize(
    ("given", "name", "meant"),
    [
        ({"server_id": "me"}, "id", "me"),
        ({"strict_model_config": False}, "disable_auto_complete_config", False),
        ({"model_control_mode": ts.ModelControlMode.EXPLICIT}, "model_control_mode", "explicit"),
        ({"startup_models": ["a", "b"]}, "load_model", ("a", "b")),
        ({"rate_limiter_mode": ts.RateLimitMode.EXEC_COUNT}, "rate_limit", "execution_count"),
        (
            {"rate_limiter_resources": [ts.RateLimiterResource("r", 4), ts.RateLimiterResource("r", 2, 1)]},
            "rate_limit_resource",
            ("r:4", "r:2:1"),
        ),
        ({"pinned_memory_pool_size": 0}, "pinned_memory_pool_byte_size", 0),
        ({"cache_config": {"local": {"size": 1000}}}, "cache_config", ("local,size=1000",)),
        ({"exit_on_error": False}, "exit_on_error", False),
        ({"strict_readiness": False}, "strict_readiness", False),
        ({"exit_timeout": 3}, "exit_timeout_secs", 3),
        ({"model_load_thread_count": 0}, "model_load_thread_count", 1),
        ({"model_load_retry_count": 2}, "model_load_retry_count", 2),
        ({"model_namespacing": True}, "model_namespacing", True),
        (
            {"backend_configuration": {"python": {"a": "b", "c": True}}},
            "backend_config",
            ("python,a=b", "python,c=true"),
        ),
        ({"host_policies": {"cpu": {"numa-node": "0"}}}, "host_policy", ("cpu,numa-node=0",)),
        ({"backend_directory": "/nowhere/to/be/found"}, "backend_directory", ""),
        ({"backend_directory": "/"}, "backend_directory", "/"),
    ],
)
def test_settings_are_said_in_the_engines_terms(given: dict[str, Any], name: str, meant: Any) -> None:
    assert engine_options(options(**given))[name] == meant


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"exit_timeout": "3"}, "exit_timeout is '3', and must be of the type int"),
        ({"exit_timeout": -1}, "exit_timeout is -1, and must be 0 or more"),
        ({"exit_timeout": True}, "exit_timeout is True"),
        ({"strict_readiness": 1}, "strict_readiness is 1, and must be of the type bool"),
        ({"model_control_mode": "explicit"}, "must be of the type ModelControlMode"),
        ({"log_format": 1}, "must be of the type LogFormat"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ts.InvalidArgumentError, match=reason):
        options(**given)


def test_a_key_that_cannot_be_said_is_refused() -> None:
    with pytest.raises(ts.InvalidArgumentError, match="impossible key 'a=b' of 'python'"):
        engine_options(options(backend_configuration={"python": {"a=b": "c"}}))


def test_a_repository_is_needed() -> None:
    for given in ({}, {"model_repository": []}, {"model_repository": ""}):
        with pytest.raises(ts.InvalidArgumentError, match=r"Model repository must be specified\."):
            ts.Options(**given)


def test_what_has_no_effect_is_known() -> None:
    assert ignored(options()) == {}
    changed = options(cuda_memory_pool_sizes={0: 1}, cache_directory="/caches")
    assert ignored(changed).keys() == {"cuda_memory_pool_sizes", "cache_directory"}


def test_limits_of_gpus_are_the_engines() -> None:
    limits = [ts.ModelLoadDeviceLimit(ts.InstanceGroupKind.GPU, 1, 0.5)]
    meant = engine_options(options(model_load_device_limits=limits, min_supported_compute_capability=8.0))
    assert meant["model_load_gpu_limit"] == ("1:0.500000",)
    assert meant["min_supported_compute_capability"] == 8.0
    assert engine_options(options())["min_supported_compute_capability"] is None
    limits = [ts.ModelLoadDeviceLimit(ts.InstanceGroupKind.CPU, 0, 0.5)]
    with pytest.raises(ts.InvalidArgumentError, match="limit of CPU; only GPUs have one"):
        engine_options(options(model_load_device_limits=limits))


def test_metrics_are_configured_by_name() -> None:
    assert metrics_texts(options(metrics_configuration={"": {"counter_latencies": False}})) == [
        "counter_latencies=false"
    ]
