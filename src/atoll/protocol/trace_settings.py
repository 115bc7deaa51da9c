"""Trace settings on the wire: JSON over HTTP, lists of texts over gRPC. Both become texts by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from atoll.errors import InternalError
from atoll.protocol.json_text import parse
from atoll.tensor import Buffer

_NAMES = ("trace_file", "trace_level", "trace_rate", "trace_count", "log_frequency")
Wanted = dict[str, Sequence[str] | None]


def wanted_from_json(body: Buffer) -> Wanted:
    """Of a POST's body; None for a setting that is null: it is cleared. What is no object says nothing.

    Raises InternalError, as the real server does, for what is no JSON and for values of other types.
    """
    document = parse(body)
    if not isinstance(document, dict):
        return {}
    wanted: Wanted = {}
    for name in _NAMES:
        if name not in document:
            continue
        value = document[name]
        if name == "trace_file":
            return {name: None}  # refused, whatever it is
        if value is None:
            wanted[name] = None
        elif name == "trace_level":
            if not isinstance(value, list):
                raise InternalError("attempt to access JSON non-array as array")
            wanted[name] = [_text(one) for one in value]
        else:
            wanted[name] = [_text(value)]
    return wanted


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InternalError("attempt to access JSON non-string as string")
    return value


def wanted_from_message(request: Any) -> Wanted:
    """Of a TraceSettingRequest; one without a value is cleared."""
    return {name: list(setting.value) or None for name, setting in request.settings.items()}


def message_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a TraceSettingResponse."""
    return {
        "settings": {
            name: {"value": list(value) if isinstance(value, list) else [value]} for name, value in document.items()
        }
    }
