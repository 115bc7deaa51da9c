"""What parameters and settings make of a model's processes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.errors import ConfigError
from atoll.isolation.settings import IsolationSettings, is_isolated, read_isolation_settings, without_effect


def _source(parameters: Mapping[str, str] | None = None, **settings: str) -> ModelSource:
    said = {key: ModelParameter(string_value=text) for key, text in (parameters or {}).items()}
    config = ModelConfig(name="m", backend="python", parameters=said)
    keys = {key.replace("_", "-"): text for key, text in settings.items()}
    return ModelSource(
        name="m",
        version=1,
        model_directory=Path("/m"),
        version_directory=Path("/m/1"),
        config=config,
        settings=keys,
        engine=None,
    )


def test_nothing_said() -> None:
    assert read_isolation_settings(_source()) == IsolationSettings()


def test_all_that_the_backend_may_say() -> None:
    found = read_isolation_settings(
        _source(
            shm_default_byte_size="4194304",
            shm_growth_byte_size="8MiB",
            shm_region_prefix_name="mine",
            stub_timeout_seconds="5",
            load_timeout_seconds="60",
            execution_timeout_seconds="7.5",
            memory_limit="1GiB",
            threads="3",
            thread_pool_size="32",
        )
    )
    assert found == IsolationSettings(
        first_bytes=4 << 20,
        growth_bytes=8 << 20,
        prefix="mine",
        stub_timeout_s=5,
        load_timeout_s=60,
        execution_timeout_s=7.5,
        memory_limit=1 << 30,
        threads=3,
    )


def test_the_short_spelling_counts_where_the_long_one_is_not_said() -> None:
    short = read_isolation_settings(_source(shm_default_size="65536", shm_growth_size="131072"))
    assert (short.first_bytes, short.growth_bytes) == (65536, 131072)
    both = read_isolation_settings(_source(shm_default_size="65536", shm_default_byte_size="262144"))
    assert both.first_bytes == 262144


def test_a_models_parameter_wins_over_its_backends_setting() -> None:
    parameters = {
        "memory_limit": "2GiB",
        "threads": "2",
        "execution_timeout_seconds": "1",
        "start_method": "fork",
    }
    found = read_isolation_settings(_source(parameters, memory_limit="1GiB", threads="9"))
    assert (found.memory_limit, found.threads, found.execution_timeout_s) == (2 << 30, 2, 1)
    assert found.start_method == "fork"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("shm-default-byte-size", "much"),
        ("shm-growth-size", "-1"),
        ("shm-default-size", "1e400"),
        ("shm-region-prefix-name", "../up"),
        ("shm-region-prefix-name", ".hidden"),
        ("shm-region-prefix-name", "x" * 129),
        ("stub-timeout-seconds", "soon"),
        ("stub-timeout-seconds", "-1"),
        ("execution-timeout-seconds", "nan"),
        ("memory-limit", "5 apples"),
        ("threads", "2000"),
        ("thread-pool-size", "0"),
        ("thread-pool-size", "abc"),
    ],
)
def test_a_wrong_setting_is_named(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_isolation_settings(_source({}, **{key: text}))
    assert str(raised.value).startswith(f"--backend-config=python,{key}={text}: expected ")


@pytest.mark.parametrize(
    ("key", "text"),
    [("start_method", "forkserver"), ("memory_limit", "x"), ("threads", "-3"), ("execution_timeout_seconds", "inf")],
)
def test_a_wrong_parameter_is_named(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_isolation_settings(_source({key: text}))
    assert f"parameter '{key}' of model 'm' is '{text}' but must be " in str(raised.value)
    assert raised.value.problems[0].path == f"parameters.{key}"


def test_where_the_instances_run() -> None:
    def isolated(text: str, default: bool) -> bool:
        return is_isolated(_source({"isolation": text}).config, default)

    assert [isolated(text, True) for text in ("", "process", "thread")] == [True, True, False]
    assert [isolated(text, False) for text in ("", "process", "thread")] == [False, True, False]
    with pytest.raises(ConfigError, match="'isolation' of model 'm' is 'container' but must be 'process' or 'thread'"):
        isolated("container", True)


@pytest.mark.parametrize(
    ("isolated_by_default", "told"), [(True, ["memory_limit", "threads"]), (False, ["memory_limit"])]
)
def test_what_says_something_of_processes_where_there_are_none(isolated_by_default: bool, told: list[str]) -> None:
    config = _source({"threads": "2", "memory_limit": "1GiB", "other": "x"}).config
    assert without_effect(config, isolated_by_default) == told
