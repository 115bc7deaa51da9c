"""What is said of a server's options before they are used: the deprecated ones become today's, and what has no effect,
here or without another option, says so.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.options import OPTIONS, Option

_DEVICE_SIZE = re.compile(r"[0-9]+:[0-9]+")
_DEVICE_SIZES = ("cuda_memory_pool_byte_size", "cuda_virtual_address_size")


def _any(*fields: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda values: any(values[field] for field in fields)


def _unix_sockets(values: Mapping[str, Any]) -> bool:
    return any(values[f"{port}_address"].startswith("unix:") for port in ("http", "grpc", "metrics"))


_HTTP_TLS = ("http_use_ssl", "http_use_ssl_mutual", "metrics_use_ssl")
_GRPC_TLS = ("grpc_use_ssl", "grpc_use_ssl_mutual")

_NEEDS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], bool], str], ...] = (
    (
        ("repository-poll-secs", "repository-settle-secs"),
        lambda values: values["model_control_mode"] == "poll",
        "--model-control-mode=poll",
    ),
    (("rate-limit-resource",), lambda values: values["rate_limit"] != "off", "--rate-limit=execution_count"),
    (("http-server-cert", "http-server-key"), _any(*_HTTP_TLS), "--http-use-ssl=true, and HTTP is not encrypted"),
    (
        ("http-root-cert",),
        _any("http_use_ssl_mutual"),
        "--http-use-ssl-mutual=true, and no client certificate is asked for",
    ),
    (("grpc-server-cert", "grpc-server-key"), _any(*_GRPC_TLS), "--grpc-use-ssl=true, and gRPC is not encrypted"),
    (
        ("grpc-root-cert",),
        _any("grpc_use_ssl_mutual"),
        "--grpc-use-ssl-mutual=true, and no client certificate is asked for",
    ),
    (("unix-socket-mode",), _unix_sockets, "an address such as --http-address=unix:/path"),
    (("api-key-exempt",), _any("api_key_file"), "--api-key-file=FILE, and no key is asked for"),
    (
        ("cors-allow-headers", "cors-allow-methods", "cors-max-age"),
        _any("cors_allow_origin"),
        "--cors-allow-origin=ORIGIN",
    ),
    (
        ("sagemaker-port", "sagemaker-safe-port-range", "sagemaker-thread-count"),
        _any("allow_sagemaker"),
        "--allow-sagemaker=true",
    ),
    (
        ("vertex-ai-port", "vertex-ai-thread-count", "vertex-ai-default-model"),
        _any("allow_vertex_ai"),
        "--allow-vertex-ai=true",
    ),
    (("metrics-use-ssl", "metrics-config", "metrics-interval-ms"), _any("allow_metrics"), "--allow-metrics=true"),
)
"""Options, whether the values have what they need, and what that is."""


def settled(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The values, by field name, with the deprecated options' meaning in the place of the others'; and what the
    operator should know about those that were given. Raises InvalidArgumentError for one that is only accepted, and
    is malformed, and for one that is empty where that would mean something that nobody wrote.
    """
    _check_empty(values)
    result = dict(values)
    notices = []
    strict = values["strict_model_config"]
    if strict is not None:
        result["disable_auto_complete_config"] = strict
        notices.append("'--strict-model-config' has been deprecated! Use '--disable-auto-complete-config' instead.")
    size = values["response_cache_byte_size"]
    if size is not None:
        notices.append(f"--response-cache-byte-size is deprecated; use --cache-config=local,size={size}")
    older = list(_older_trace_config(values))
    result["trace_config"] = [text for _, text in older] + list(values["trace_config"])
    notices += [f"'--{name}' has been deprecated; use '--trace-config={text}' instead" for name, text in older]
    _check_device_sizes(values)
    return result, [*notices, *_without_effect(values), *_without_another(values)]


def _older_trace_config(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the deprecated options of traces say, by their names, as --trace-config says it. Given before what that
    says itself, which then counts; but for levels, of which each counts.
    """
    for level in values["trace_level"]:
        if not any(one.startswith("level=") for one in values["trace_config"]):
            yield "trace-level", f"level={level}"
    for name, key in (
        ("trace-file", "triton,file"),
        ("trace-rate", "rate"),
        ("trace-count", "count"),
        ("trace-log-frequency", "triton,log-frequency"),
    ):
        value = values[name.replace("-", "_")]
        if value not in (None, ""):
            yield name, f"{key}={value}"


def _check_empty(values: Mapping[str, Any]) -> None:
    """A variable that is not set, as in --http-address=$ADDRESS: not every interface, nor the current directory."""
    for field in ("http_address", "grpc_address", "model_repository", "load_model"):
        if values[field] == "" or (isinstance(values[field], (list, tuple)) and "" in values[field]):
            raise InvalidArgumentError(f"--{field.replace('_', '-')} is empty: is a variable not set?")


def _check_device_sizes(values: Mapping[str, Any]) -> None:
    for field in _DEVICE_SIZES:
        for text in values[field]:
            if not _DEVICE_SIZE.fullmatch(text):
                name = field.replace("_", "-")
                raise InvalidArgumentError(f"--{name}={text}: expected DEVICE:BYTES, such as 0:67108864")


def _given(option: Option, values: Mapping[str, Any]) -> bool:
    value = values[option.field]
    return bool(value) if option.kind is list else bool(value != option.default)


def _without_effect(values: Mapping[str, Any]) -> Iterator[str]:
    for option in OPTIONS:
        if option.no_effect and _given(option, values):
            yield f"--{option.name} has no effect: {option.no_effect}"


def _without_another(values: Mapping[str, Any]) -> Iterator[str]:
    """Given, and of no use: somebody may believe that the server does what they say."""
    options = {option.name: option for option in OPTIONS}
    for names, enough, need in _NEEDS:
        given = [name for name in names if _given(options[name], values)]
        if given and not enough(values):
            yield f"{', '.join(f'--{name}' for name in given)}: no effect without {need}"
