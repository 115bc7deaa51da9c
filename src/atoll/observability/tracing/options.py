"""--trace-config, and the deprecated --trace-* options, as settings."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing.settings import LEVELS, TraceSettings, read_count, read_frequency, read_rate

logger = logging.getLogger(__name__)

MODES = ("triton", "opentelemetry")
TRITON_KEYS = ("file", "log-frequency")
OPENTELEMETRY_KEYS = ("url", "resource", "bsp_max_queue_size", "bsp_schedule_delay", "bsp_max_export_batch_size")
GLOBAL_KEYS = ("level", "rate", "count", "mode")
_LEVEL_WORDS: Mapping[str, tuple[str, ...]] = {
    "OFF": (),
    "TIMESTAMPS": ("TIMESTAMPS",),
    "TENSORS": ("TENSORS",),
    "MIN": ("TIMESTAMPS",),  # deprecated, both of them
    "MAX": ("TIMESTAMPS",),
}


def trace_settings(config: Sequence[str]) -> TraceSettings:
    """Of what stands behind --trace-config, each time. The last one counts; of levels, each.

    Raises InvalidArgumentError that says what to write instead.
    """
    given = _Given()
    for one in config:
        given.take(one)
    settings = TraceSettings(levels=given.levels, **given.values)
    _check(settings)
    return settings


class _Given:
    """What --trace-config says, one at a time."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.levels: tuple[str, ...] = ()

    def take(self, text: str) -> None:
        """MODE,KEY=VALUE or KEY=VALUE."""
        name, equals, value = text.partition("=")
        mode, comma, key = name.partition(",")
        if not equals or not value or (comma and not key):
            raise InvalidArgumentError(
                f"--trace-config={text}: expected KEY=VALUE, such as level=TIMESTAMPS, or MODE,KEY=VALUE, such as "
                "triton,file=/tmp/trace.json"
            )
        if not comma:
            self._take_global(name, value, text)
        elif mode.lower() == "triton":
            self._take_triton(key, value, text)
        elif mode.lower() == "opentelemetry":
            if key not in OPENTELEMETRY_KEYS:
                raise _unknown(text, key, OPENTELEMETRY_KEYS)
            logger.warning("--trace-config=%s has no effect: traces are written in the mode triton", text)
        else:
            raise InvalidArgumentError(f"--trace-config={text}: the modes are {' and '.join(MODES)}, not '{mode}'")

    def _take_global(self, key: str, value: str, text: str) -> None:
        if key == "level":
            meaning = _LEVEL_WORDS.get(value.upper())
            if meaning is None:
                raise InvalidArgumentError(f"--trace-config={text}: expected OFF, TIMESTAMPS or TENSORS")
            self.levels = tuple(one for one in LEVELS if one in {*self.levels, *meaning})
        elif key == "rate":
            self.values["rate"] = _number(read_rate, value, text)
        elif key == "count":
            self.values["count"] = _number(read_count, value, text)
        elif key != "mode":
            raise _unknown(text, key, GLOBAL_KEYS)
        elif value.lower() == "opentelemetry":
            raise InvalidArgumentError(
                f"--trace-config={text}: this version does not export traces by OpenTelemetry; mode=triton writes "
                "them to a file, and models get the trace context that clients send in either mode"
            )
        elif value.lower() != "triton":
            raise InvalidArgumentError(f"--trace-config={text}: the modes are {' and '.join(MODES)}, not '{value}'")

    def _take_triton(self, key: str, value: str, text: str) -> None:
        if key == "file":
            self.values["file"] = value
        elif key == "log-frequency":
            self.values["log_frequency"] = _number(read_frequency, value, text)
        else:
            raise _unknown(text, key, TRITON_KEYS)


def _number(read: Callable[[str], int], value: str, text: str) -> int:
    try:
        return read(value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"--trace-config={text}: expected a whole number ({error})") from None


def _unknown(text: str, key: str, known: Sequence[str]) -> InvalidArgumentError:
    return InvalidArgumentError(f"--trace-config={text}: there is no '{key}' here; there are {', '.join(known)}")


def _check(settings: TraceSettings) -> None:
    if not settings.file:
        if settings.levels:
            logger.warning("nothing is traced: a level is set, but no file: add --trace-config=triton,file=PATH")
        return
    text = f"--trace-config=triton,file={settings.file}: traces cannot be written there"
    folder = Path(settings.file).absolute().parent
    if not folder.is_dir():
        raise InvalidArgumentError(f"{text}: there is no folder '{folder}'")
    if Path(settings.file).is_dir():
        raise InvalidArgumentError(f"{text}: it is a folder")
