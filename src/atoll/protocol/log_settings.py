"""The logging extension: what is asked for, over either protocol, and the settings as they are answered.

The keys are looked at in the real server's order, so that the same one of several mistakes is told. What it does not
know it ignores, and so does this.
"""

from typing import Any, Final

from atoll.errors import InternalError, InvalidArgumentError, UnavailableError, UnsupportedError
from atoll.observability.logging.settings import FORMATS, LogSettings
from atoll.protocol import json_text
from atoll.tensor import Buffer

_SWITCHES: Final = {"log_info": "info", "log_warning": "warning", "log_error": "error"}
_FILE_IS_FIXED: Final = "log file location can not be updated through network protocol"
_UINT64: Final = 1 << 64


def document(settings: LogSettings) -> dict[str, Any]:
    """All settings, in the real server's order."""
    return {
        "log_file": settings.file,
        "log_info": settings.info,
        "log_warning": settings.warning,
        "log_error": settings.error,
        "log_verbose_level": settings.verbose_level,
        "log_format": settings.format,
    }


def changes_from_json(body: Buffer) -> dict[str, Any]:
    """The fields of `LogSettings` that a request over HTTP changes. A text that is no object changes none.

    Raises InternalError for what is no JSON or of a wrong type, UnsupportedError for a file, UnavailableError for a
    format that is none: the real server's codes.
    """
    given = json_text.parse(body)
    if not isinstance(given, dict):
        return {}
    given = {key: value for key, value in given.items() if value is not None}
    if "log_file" in given:
        raise UnsupportedError(_FILE_IS_FIXED)
    changes: dict[str, Any] = {}
    for key, field in _SWITCHES.items():
        if key in given:
            if not isinstance(given[key], bool):
                raise InternalError("attempt to access JSON non-boolean as boolean")
            changes[field] = given[key]
    level = given.get("log_verbose_level")
    if level is not None:
        if type(level) is not int or not 0 <= level < _UINT64:
            raise InternalError("attempt to access JSON non-unsigned-integer as unsigned-integer")
        changes["verbose_level"] = _level(level)
    form = given.get("log_format")
    if form is not None:
        if not isinstance(form, str):
            raise InternalError("attempt to access JSON non-string as string")
        if form not in FORMATS:
            raise UnavailableError(f"invalid argument for --log_format, got: {form}")
        changes["format"] = form
    return changes


def changes_from_message(request: Any) -> dict[str, Any]:
    """The same of a LogSettingsRequest. Raises UnsupportedError for a file, InvalidArgumentError for all else."""
    given = request.settings
    if "log_file" in given:
        raise UnsupportedError(_FILE_IS_FIXED)
    changes: dict[str, Any] = {}
    for key, field in _SWITCHES.items():
        if key in given:
            changes[field] = _choice(given, key, "bool_param", "boolean")
    if "log_verbose_level" in given:
        changes["verbose_level"] = _level(_choice(given, "log_verbose_level", "uint32_param", "int32"))
    if "log_format" in given:
        form = _choice(given, "log_format", "string_param", "string")
        if form not in FORMATS:
            raise InvalidArgumentError(f"invalid argument for log_format, got: {form}")
        changes["format"] = form
    return changes


def settings_of_message(settings: LogSettings) -> dict[str, dict[str, Any]]:
    """The `settings` of a LogSettingsResponse."""
    return {key: {_member(value): value} for key, value in document(settings).items()}


def _member(value: Any) -> str:
    if isinstance(value, bool):
        return "bool_param"
    return "uint32_param" if isinstance(value, int) else "string_param"


def _choice(given: Any, key: str, member: str, expected: str) -> Any:
    value = given[key]
    if value.WhichOneof("parameter_choice") != member:
        raise InvalidArgumentError(f"expect {expected} for '{key}'")
    return getattr(value, member)


def _level(number: int) -> int:
    """As the real server keeps it: its low 32 bits with a sign, and 0 for what is below that."""
    low = number & 0xFFFF_FFFF
    return low if low < 1 << 31 else 0
