"""--trace-config, and the deprecated --trace-* options, as settings."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing.export_settings import KEYS, check_setting, export_settings
from atoll.observability.tracing.settings import LEVELS, TraceSettings, read_count, read_frequency, read_rate

logger = logging.getLogger(__name__)

MODES = ("triton", "opentelemetry")
TRITON_KEYS = ("file", "log-frequency")
GLOBAL_KEYS = ("level", "rate", "count", "mode")
_LEVEL_WORDS: Mapping[str, tuple[str, ...]] = {
    "OFF": (),
    "TIMESTAMPS": ("TIMESTAMPS",),
    "TENSORS": ("TENSORS",),
    "MIN": ("TIMESTAMPS",),  # deprecated, both of them
    "MAX": ("TIMESTAMPS",),
}


def trace_settings(config: Sequence[str], environment: Mapping[str, str] = os.environ) -> TraceSettings:
    """Of what stands behind --trace-config, each time. The last one counts; of levels and resources, each. In mode
    opentelemetry `environment` says what the options do not.

    Raises InvalidArgumentError that says what to write instead.
    """
    given = _Given()
    for one in config:
        given.take(one)
    for mode, texts in given.texts.items():
        if mode != given.mode:
            for text in texts:
                logger.warning("--trace-config=%s has no effect: the mode of the traces is %s", text, given.mode)
    if given.mode == "triton":
        settings = TraceSettings(levels=given.levels, **given.values, **given.triton)
        _check_file(settings)
        return settings
    if not given.levels:
        logger.warning("nothing is traced yet: no level is set: add --trace-config=level=TIMESTAMPS")
    export = export_settings(given.opentelemetry, environment)
    return TraceSettings(levels=given.levels, **given.values, export=export)


class _Given:
    """What --trace-config says, one at a time."""

    def __init__(self) -> None:
        self.mode = "triton"
        self.values: dict[str, Any] = {}
        self.triton: dict[str, Any] = {}
        self.opentelemetry: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {mode: [] for mode in MODES}
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
            self._take_opentelemetry(key, value, text)
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
        elif value.lower() in MODES:
            self.mode = value.lower()
        else:
            raise InvalidArgumentError(f"--trace-config={text}: the modes are {' and '.join(MODES)}, not '{value}'")

    def _take_triton(self, key: str, value: str, text: str) -> None:
        if key == "file":
            self.triton["file"] = value
        elif key == "log-frequency":
            self.triton["log_frequency"] = _number(read_frequency, value, text)
        else:
            raise _unknown(text, key, TRITON_KEYS)
        self.texts["triton"].append(text)

    def _take_opentelemetry(self, key: str, value: str, text: str) -> None:
        if key not in KEYS:
            raise _unknown(text, key, KEYS)
        check_setting(key, value, f"--trace-config={text}")
        self.opentelemetry.setdefault(key, []).append(value)
        self.texts["opentelemetry"].append(text)


def _number(read: Callable[[str], int], value: str, text: str) -> int:
    try:
        return read(value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"--trace-config={text}: expected a whole number ({error})") from None


def _unknown(text: str, key: str, known: Sequence[str]) -> InvalidArgumentError:
    return InvalidArgumentError(f"--trace-config={text}: there is no '{key}' here; there are {', '.join(known)}")


def _check_file(settings: TraceSettings) -> None:
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
