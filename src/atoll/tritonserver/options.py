"""The settings of a server under the names of the in-process API, and what they are for the engine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.observability.metrics.settings import MetricsSettings
from atoll.options import OPTIONS
from atoll.tritonserver.enums import InstanceGroupKind, LogFormat, ModelControlMode, RateLimitMode

_NEVER_S = 3_000_000_000.0  # between two looks at the repositories: nobody looks but who is asked to


@dataclass
class RateLimiterResource:
    """How much there is of a resource: in all, or on one device."""

    name: str
    count: int
    device: int | None = None


@dataclass
class ModelLoadDeviceLimit:
    """The part of a device's memory, from 0 to 1, up to which instances may be made there. Of GPUs only, and there it
    needs the package nvidia-ml-py.
    """

    kind: InstanceGroupKind
    device: int
    fraction: float


@dataclass
class Options:
    """A server's settings. Sizes are in bytes, times in seconds; `metrics_interval` is in milliseconds.

    Those without effect, because what they set does not exist here, are named in `WITHOUT_EFFECT`; where one of them
    is changed, the log says so at the start. Raises InvalidArgumentError for a value of the wrong kind.
    """

    server_id: str = "triton"
    model_repository: str | list[str] = field(default_factory=list)
    model_control_mode: ModelControlMode = ModelControlMode.NONE
    startup_models: list[str] = field(default_factory=list)
    strict_model_config: bool = True

    rate_limiter_mode: RateLimitMode = RateLimitMode.OFF
    rate_limiter_resources: list[RateLimiterResource] = field(default_factory=list)

    pinned_memory_pool_size: int = 1 << 28
    cuda_memory_pool_sizes: dict[int, int] = field(default_factory=dict)

    cache_config: dict[str, dict[str, Any]] = field(default_factory=dict)
    cache_directory: str = "/opt/tritonserver/caches"

    min_supported_compute_capability: float = 6.0

    exit_on_error: bool = True
    strict_readiness: bool = True
    exit_timeout: int = 30
    buffer_manager_thread_count: int = 0
    model_load_thread_count: int = 4
    model_load_retry_count: int = 0
    model_namespacing: bool = False
    enable_peer_access: bool = True

    log_file: str | None = None
    log_info: bool = False
    log_warn: bool = False
    log_error: bool = False
    log_format: LogFormat = LogFormat.DEFAULT
    log_verbose: int = 0

    metrics: bool = True
    gpu_metrics: bool = True
    cpu_metrics: bool = True
    metrics_interval: int = 2000

    backend_directory: str = "/opt/tritonserver/backends"
    repo_agent_directory: str = "/opt/tritonserver/repoagents"
    model_load_device_limits: list[ModelLoadDeviceLimit] = field(default_factory=list)
    backend_configuration: dict[str, dict[str, str]] = field(default_factory=dict)
    host_policies: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics_configuration: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            wrong = isinstance(value, bool) and kind is not bool
            if wrong or not isinstance(value, (int, float) if kind is float else kind):
                raise InvalidArgumentError(f"Options: {name} is {value!r}, and must be of the type {kind.__name__}")
            if kind is int and isinstance(value, int) and value < 0:
                raise InvalidArgumentError(f"Options: {name} is {value}, and must be 0 or more")
        if not self.model_repository:
            raise InvalidArgumentError("Model repository must be specified.")
        if isinstance(self.model_repository, (str, Path)):
            self.model_repository = [str(self.model_repository)]


_OPTION_OF = {
    "cuda_memory_pool_sizes": "cuda-memory-pool-byte-size",
    "cache_directory": "cache-directory",
    "buffer_manager_thread_count": "buffer-manager-thread-count",
    "enable_peer_access": "enable-peer-access",
    "repo_agent_directory": "repoagent-directory",
}
_NO_EFFECT = {option.name: option.no_effect for option in OPTIONS}
WITHOUT_EFFECT: Mapping[str, str] = {name: _NO_EFFECT[option] for name, option in _OPTION_OF.items()}
"""The fields that are accepted and change nothing, and why."""

_SIMPLE = (bool, int, float, ModelControlMode, RateLimitMode, LogFormat)
_KINDS: Mapping[str, type] = {
    one.name: one.type for one in fields(Options) if one.type in _SIMPLE and isinstance(one.type, type)
}
_DEFAULTS = {one.name: one.default for one in fields(Options)}


def ignored(options: Options) -> dict[str, str]:
    """The fields of these options that were given and change nothing, and why."""
    return {
        name: reason
        for name, reason in WITHOUT_EFFECT.items()
        if getattr(options, name) != _DEFAULTS[name] and getattr(options, name) not in ({}, "")
    }


def engine_options(options: Options) -> dict[str, Any]:
    """The keyword arguments of `atoll.Server`. Raises InvalidArgumentError where a text cannot be said to it."""
    backends = options.backend_directory
    least = options.min_supported_compute_capability
    return {
        "model_repository": options.model_repository,
        "id": options.server_id,
        "model_control_mode": options.model_control_mode.name.lower(),
        "load_model": tuple(options.startup_models),
        "repository_poll_secs": _NEVER_S,
        "repository_settle_secs": 0.0,
        "disable_auto_complete_config": options.strict_model_config,
        "rate_limit": "execution_count" if options.rate_limiter_mode is RateLimitMode.EXEC_COUNT else "off",
        "rate_limit_resource": tuple(_resource(one) for one in options.rate_limiter_resources),
        "pinned_memory_pool_byte_size": options.pinned_memory_pool_size,
        "cache_config": tuple(_settings("cache_config", options.cache_config)),
        "exit_on_error": options.exit_on_error,
        "strict_readiness": options.strict_readiness,
        "exit_timeout_secs": options.exit_timeout,
        "model_load_thread_count": max(options.model_load_thread_count, 1),
        "model_load_retry_count": options.model_load_retry_count,
        "model_namespacing": options.model_namespacing,
        "backend_directory": backends if backends and Path(backends).is_dir() else "",
        "backend_config": tuple(_settings("backend_configuration", options.backend_configuration)),
        "host_policy": tuple(_settings("host_policies", options.host_policies)),
        "min_supported_compute_capability": None if least == _DEFAULTS["min_supported_compute_capability"] else least,
        "model_load_gpu_limit": tuple(_gpu_limit(one) for one in options.model_load_device_limits),
        "metrics_config": tuple(metrics_texts(options)),
    }


def metrics_settings(options: Options) -> MetricsSettings:
    """What `metrics_configuration` says. Raises InvalidArgumentError."""
    return MetricsSettings.from_texts(metrics_texts(options))


def metrics_texts(options: Options) -> list[str]:
    """The same as the option metrics-config has it."""
    named = options.metrics_configuration.values()
    return [f"{key}={str(value).lower()}" for settings in named for key, value in settings.items()]


def _resource(one: RateLimiterResource) -> str:
    return f"{one.name}:{one.count}" + ("" if one.device is None else f":{one.device}")


def _gpu_limit(one: ModelLoadDeviceLimit) -> str:
    if one.kind is not InstanceGroupKind.GPU:
        raise InvalidArgumentError(
            f"Options: model_load_device_limits has a limit of {one.kind.name}; only GPUs have one"
        )
    return f"{one.device}:{one.fraction:f}"


def _settings(name: str, given: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for owner, settings in given.items():
        for key, value in settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if not key or "=" in key or "," in owner:
                raise InvalidArgumentError(f"Options: {name} has the impossible key '{key}' of '{owner}'")
            yield f"{owner},{key}={text}"
