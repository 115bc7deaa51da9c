"""What clients change while the server runs: the settings of the log and of traces."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError
from tests.fuzz.target import Target, outcome

from atoll.observability.logging.settings import FORMATS, LogSettings
from atoll.observability.tracing.settings import LEVELS, TraceSettings, TraceUpdate, read_update, updated
from atoll.protocol import log_settings, trace_settings
from atoll.protocol.schema import message_class

_LogRequest = message_class("inference.LogSettingsRequest")
_LogAnswer = message_class("inference.LogSettingsResponse")
_TraceRequest = message_class("inference.TraceSettingRequest")
_TraceAnswer = message_class("inference.TraceSettingResponse")


def _log_settings_hold(changes: Any) -> None:
    if not isinstance(changes, dict):
        return
    assert "file" not in changes
    settings = replace(LogSettings(), **changes)
    assert settings.format in FORMATS
    assert 0 <= settings.verbose_level < 2**31
    assert settings.lowest >= 1
    assert all(type(one) is bool for one in (settings.info, settings.warning, settings.error))
    _LogAnswer(settings=log_settings.settings_of_message(settings)).SerializeToString()


def log_request(data: bytes) -> None:
    """Over either protocol: what comes out can be a log's settings, and its file never changes."""
    _log_settings_hold(outcome(lambda: log_settings.changes_from_json(data)))
    try:
        message: Any = _LogRequest.FromString(data)
    except DecodeError:
        return
    _log_settings_hold(outcome(lambda: log_settings.changes_from_message(message)))


_LOGS = (
    b'{"log_verbose_level":18446744073709551615,"log_info":false,"log_format":"json","log_error":null}',
    b'{"log_file":"/etc/passwd"}',
    _LogRequest(
        settings={
            "log_verbose_level": {"uint32_param": 2**32 - 1},
            "log_info": {"bool_param": False},
            "log_format": {"string_param": "ISO8601"},
        }
    ).SerializeToString(),
)

_TRACED = TraceSettings(levels=("TIMESTAMPS",), file="/traces")


def _trace_settings_hold(wanted: Any) -> None:
    if not isinstance(wanted, dict):
        return
    update = outcome(lambda: read_update(wanted))
    if not isinstance(update, TraceUpdate):
        return
    settings, specified = updated(_TRACED, frozenset({"levels"}), TraceSettings(file="/traces"), update)
    assert settings.file == "/traces"
    assert set(settings.levels) <= set(LEVELS)
    assert 0 <= settings.rate < 2**32
    assert 0 <= settings.log_frequency < 2**32
    assert -1 <= settings.count < 2**31
    assert specified.isdisjoint(update.cleared)
    _TraceAnswer(**trace_settings.message_fields(settings.document())).SerializeToString()


def trace_request(data: bytes) -> None:
    """Over either protocol: what comes out can be settings, and the file never changes."""
    _trace_settings_hold(outcome(lambda: trace_settings.wanted_from_json(data)))
    try:
        message: Any = _TraceRequest.FromString(data)
    except DecodeError:
        return
    _trace_settings_hold(outcome(lambda: trace_settings.wanted_from_message(message)))


_TRACES = (
    b'{"trace_level":["TIMESTAMPS","TENSORS"],"trace_rate":"-1","trace_count":"2147483647","log_frequency":null}',
    b'{"trace_level":["OFF"],"trace_rate":" +00000000000000000009x"}',
    b'{"trace_file":"/etc/passwd"}',
    _TraceRequest(
        settings={"trace_rate": {"value": ["1"]}, "trace_level": {"value": ["TENSORS"]}, "trace_count": {}},
        model_name="m",
    ).SerializeToString(),
)


TARGETS: Mapping[str, Target] = {
    "log_request": Target(log_request, _LOGS),
    "trace_request": Target(trace_request, _TRACES),
}
