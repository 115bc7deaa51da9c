"""What is said of a server's options before they are used: the deprecated ones become today's, and what has no effect
here says so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from atoll.options import OPTIONS


def settled(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The values, by field name, with the deprecated options' meaning in the place of the others'; and what the
    operator should know about those that were given.
    """
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
    return result, [*notices, *_without_effect(values)]


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


def _without_effect(values: Mapping[str, Any]) -> Iterator[str]:
    for option in OPTIONS:
        given = values[option.field]
        unset = not given if option.kind is list else given == option.default
        if option.no_effect and not unset:
            yield f"--{option.name} has no effect: {option.no_effect}"
